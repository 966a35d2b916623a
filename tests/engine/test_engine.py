"""The engine on real kernels: many at once give what one at a time gives, and nobody is lost."""

import numpy as np
import pytest
from tests.engine.conftest import MakeBench
from tests.engine.harness import Bench

from ai_assistant.engine.kernels import Model
from ai_assistant.engine.sequence import Sequence
from ai_assistant.protocol.chunks import TokenLogprob
from ai_assistant.protocol.frames import Abort
from ai_assistant.protocol.requests import Priority, Sampling

SYSTEM = (
    "<|im_start|>system\n" + "You are Ember, a small and friendly assistant. " * 40 + "<|im_end|>\n"
)


def chat(text: str, system: str = "") -> str:
    return f"{system}<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


QUESTIONS = ["Hello!", "Who are you?", "Tell me a story about a cat.", "Where is Paris?",
             "Thanks", "你好", "Copy: the red fox", "Good night"]  # fmt: skip


def step(bench: Bench) -> None:
    """One round of the engine's loop."""
    bench.engine.accept()
    parts = bench.engine._batcher.next()
    if parts and bench.engine.stepping.decode(parts):
        bench.engine.stepping.commit(parts)


def one_at_a_time(bench: Bench, prompts: list[str], max_tokens: int) -> list[list[TokenLogprob]]:
    """The honest slow path: each prompt alone, with the runner-up of every token."""
    answers: list[list[TokenLogprob]] = []
    for index, prompt in enumerate(prompts):
        bench.ask(f"alone{index}", prompt, max_tokens=max_tokens, logprobs=2)
        chunks = bench.run().chunks[f"alone{index}"]
        answers.append([entry for chunk in chunks for entry in chunk.logprobs])
    return answers


CLOSE_CALL = 0.5
"""Nats between two tokens within which another batch size may turn the choice. The kernels have one
attention path for few tokens, which adds up in 16 bits, and a tiled one for many: the logits of
one and the same prompt were seen to differ by 0.49 between a batch of 15 and one of 120 tokens."""


def assert_same_but_for_close_calls(together: list[str], alone: list[list[TokenLogprob]]) -> None:
    for text, entries in zip(together, alone, strict=True):
        seen = ""
        for entry in entries:
            if entry.token.startswith("<|") or text.startswith(seen + entry.token):
                seen += "" if entry.token.startswith("<|") else entry.token
                continue
            best, second = entry.top
            assert best.logprob - second.logprob < CLOSE_CALL, (text, seen, entry)
            break


def all_at_once(bench: Bench, prompts: list[str], max_tokens: int) -> list[str]:
    for index, prompt in enumerate(prompts):
        bench.ask(f"together{index}", prompt, max_tokens=max_tokens)
    collector = bench.run()
    return [collector.text(f"together{index}") for index in range(len(prompts))]


def test_batched_greedy_equals_one_at_a_time(bench: MakeBench) -> None:
    prompts = [chat(question) for question in QUESTIONS]
    together = all_at_once(bench(), prompts, 24)
    assert_same_but_for_close_calls(together, one_at_a_time(bench(retained=0), prompts, 24))


def test_chats_with_one_system_prompt_prefill_it_once(bench: MakeBench) -> None:
    prompts = [chat(question, SYSTEM) for question in QUESTIONS]
    engine = bench()
    together = all_at_once(engine, prompts, 12)
    system = len(engine.tokens(SYSTEM))
    usages = [engine.collector.usage(f"together{i}") for i in range(len(prompts))]
    assert usages[0].cached_tokens == 0
    assert all(usage.cached_tokens >= system for usage in usages[1:])
    computed = engine.engine.status().prompt_tokens - engine.engine.status().cached_tokens
    assert computed < system + len(prompts) * 32
    assert_same_but_for_close_calls(together, one_at_a_time(bench(retained=0), prompts, 12))


def test_next_turn_computes_only_what_is_new(bench: MakeBench) -> None:
    engine = bench()
    first = chat("Hello!", SYSTEM)
    engine.ask("turn1", first, max_tokens=8)
    answer = engine.run().text("turn1")
    engine.ask("turn2", first + answer + "<|im_end|>\n" + chat("And you?"), max_tokens=8)
    usage = engine.run().usage("turn2")
    assert usage.cached_tokens >= len(engine.tokens(first))
    assert usage.prompt_tokens - usage.cached_tokens < 30


def test_full_pool_parks_and_resumes_without_an_error(steady_bench: MakeBench) -> None:
    prompts = [chat(question) for question in QUESTIONS]
    small = steady_bench(cells=512, context_limit=256, slots=8, retained=0)
    parked = 0
    park = small.engine._batcher._park

    def count_parked(sequence: Sequence) -> None:
        nonlocal parked
        parked += 1
        park(sequence)

    small.engine._batcher._park = count_parked  # type: ignore[method-assign]
    together = all_at_once(small, prompts, 120)
    assert parked
    assert not small.collector.failed
    alone = one_at_a_time(steady_bench(retained=0), prompts, 120)
    assert_same_but_for_close_calls(together, alone)


def test_parked_without_memory_for_its_state_is_computed_again(bench: MakeBench) -> None:
    prompts = [chat(question) for question in QUESTIONS]
    small = bench(cells=512, context_limit=256, slots=8, retained=0, park_bytes=0)
    together = all_at_once(small, prompts, 100)
    assert [len(text) > 0 for text in together] == [True] * len(prompts)
    assert all(small.collector.usage(f"together{i}").completion_tokens == 100 for i in range(8))


def test_newest_of_the_lowest_class_is_parked_first(bench: MakeBench) -> None:
    # All go at the same pace: else the lower ones pause before the pool is full.
    small = bench(cells=512, context_limit=400, slots=4, retained=0, tpot_factor=1000.0)
    for name, priority in [("batch", 2), ("interactive", 0), ("normal", 1)]:
        small.ask(name, chat("Tell me a story."), max_tokens=240, priority=Priority(priority))
    order: list[str] = []
    park = small.engine._batcher._park

    def note(sequence: Sequence) -> None:
        park(sequence)
        order.append(sequence.request.request_id)

    small.engine._batcher._park = note  # type: ignore[method-assign]
    small.run()
    assert order[0] == "batch"
    assert "interactive" not in order


def test_more_requests_than_slots_are_all_answered(bench: MakeBench) -> None:
    engine = bench(slots=3)
    for index in range(20):
        engine.ask(f"r{index}", chat(QUESTIONS[index % 8]), max_tokens=5)
    collector = engine.run()
    assert all(collector.usage(f"r{i}").completion_tokens == 5 for i in range(20))


def test_abort_frees_the_slot_and_the_cells(bench: MakeBench) -> None:
    engine = bench(slots=2, retained=0)
    engine.ask("gone", chat("Tell me a story."), max_tokens=2000)
    for _ in range(5):
        engine.engine.accept()
        parts = engine.engine._batcher.next()
        assert engine.engine.stepping.decode(parts)
        engine.engine.stepping.commit(parts)
    assert engine.engine.status().running == 1
    engine.orders.arrivals.put(Abort("gone"))
    engine.engine.accept()
    status = engine.engine.status()
    assert (status.running, status.cells_used) == (0, 0)


def test_abort_that_overtakes_its_request_still_counts(bench: MakeBench) -> None:
    engine = bench()
    engine.orders.arrivals.put(Abort("late"))
    engine.ask("late", chat("Hello!"))
    engine.ask("other", chat("Hello!"))
    collector = engine.run()
    assert "late" not in collector.chunks
    assert "other" in collector.chunks


def test_full_queue_is_an_orderly_refusal(bench: MakeBench) -> None:
    engine = bench(slots=1, queue=2)
    for index in range(8):
        engine.ask(f"r{index}", chat("Hello!"), max_tokens=2)
    collector = engine.run()
    assert {failed.error.code for failed in collector.failed.values()} == {"overloaded"}
    assert len(collector.failed) + len(collector.chunks) == 8
    assert all(failed.error.retry_after for failed in collector.failed.values())


def test_choices_share_the_prompt_and_differ(bench: MakeBench) -> None:
    engine = bench()
    engine.ask(
        "n", chat("Tell me a story.", SYSTEM), n=4, sampling=Sampling(temperature=1.0, seed=3)
    )
    collector = engine.run()
    texts = [collector.text("n", index) for index in range(4)]
    assert len(set(texts)) == 4
    usage = collector.usage("n")
    assert usage.completion_tokens == 4 * 16
    assert usage.prompt_tokens == len(engine.tokens(chat("Tell me a story.", SYSTEM)))


def test_seed_repeats_whatever_else_runs(bench: MakeBench) -> None:
    drawn = Sampling(temperature=0.8, top_p=0.9, top_k=40, seed=11)
    alone = bench(retained=0)
    alone.ask("seeded", chat("Tell me a story."), sampling=drawn)
    crowded = bench(retained=0)
    crowded.ask("seeded", chat("Tell me a story."), sampling=drawn)
    for index in range(4):
        crowded.ask(f"noise{index}", chat("Hello!"))
    assert alone.run().text("seeded") == crowded.run().text("seeded")


def test_stop_string_ends_across_token_borders(bench: MakeBench) -> None:
    engine = bench()
    engine.ask("free", chat("Who are you?"), max_tokens=30)
    text = engine.run().text("free")
    stop = text[9:14]
    engine.ask("cut", chat("Who are you?"), max_tokens=30, stop=(stop,))
    collector = engine.run()
    assert collector.text("cut") == text[: text.find(stop)]
    assert collector.chunks["cut"][-1].finish == "stop"


def test_logprobs_are_probabilities(bench: MakeBench) -> None:
    engine = bench()
    engine.ask("logprobs", chat("Hello!"), max_tokens=6, logprobs=5)
    entries = [entry for c in engine.run().chunks["logprobs"] for entry in c.logprobs]
    assert len(entries) == 6
    for entry in entries:
        assert entry.logprob <= 0
        assert entry.logprob == pytest.approx(entry.top[0].logprob)
        assert len(entry.top) == 5


def test_kernel_failure_ends_only_its_batch(bench: MakeBench) -> None:
    engine = bench()
    engine.ask("bad", chat("Hello!"))
    engine.engine.accept()
    parts = engine.engine._batcher.next()
    engine.engine.stepping._fail(parts, RuntimeError("the GPU is gone"))
    assert "GPU is gone" in engine.collector.failed["bad"].error.message
    engine.ask("good", chat("Hello!"))
    assert engine.run().usage("good").completion_tokens == 16


def test_no_room_in_the_kernels_is_survived(bench: MakeBench) -> None:
    engine = bench()
    engine.ask("r0", chat("Hello!"))
    engine.engine.accept()
    engine.engine._batcher.make_room(engine.engine._batcher.next())
    assert engine.run().usage("r0").completion_tokens == 16


def test_whole_state_models_continue_correctly(whole_state_model: Model) -> None:
    def answer(bench: Bench, name: str, prompt: list[int]) -> str:
        bench.ask(name, prompt, max_tokens=24)
        return bench.run().text(name)

    prompt = [3 + (7 * i) % 200 for i in range(300)]
    limits = {"threads": 1, "threads_batch": 1, "cells": 2048, "slots": 2, "chunk": 128}
    used = Bench(whole_state_model, "", **limits)  # type: ignore[arg-type]
    answer(used, "first", prompt)
    longer = [*_computed(used), *range(50, 90)]
    shared = answer(used, "longer", longer)
    assert used.collector.usage("longer").cached_tokens == len(longer) - 40
    shorter = answer(used, "shorter", prompt[:200])
    assert used.collector.usage("shorter").cached_tokens == 0
    used.close()
    fresh = Bench(whole_state_model, "", **limits)  # type: ignore[arg-type]
    assert answer(fresh, "longer", longer) == shared
    assert answer(fresh, "shorter", prompt[:200]) == shorter
    fresh.close()


def _computed(bench: Bench) -> list[int]:
    """The tokens of the one retained sequence."""
    (resident,) = bench.engine._parts.cache._resident.values()
    return list(resident.tokens)


def test_whole_state_models_batch_correctly(whole_state_model: Model) -> None:
    prompts = [[3 + (k * i) % 200 for i in range(40 + 30 * k)] for k in range(1, 5)]
    texts: list[list[str]] = []
    for slots in (1, 4):
        bench = Bench(
            whole_state_model,
            "",
            slots=slots,
            retained=0,
            threads=1,
            threads_batch=1,
            chunk=128,  # type: ignore[arg-type]
        )
        for index, prompt in enumerate(prompts):
            bench.ask(f"r{index}", prompt, max_tokens=20)
        collector = bench.run()
        texts.append([collector.text(f"r{i}") for i in range(4)])
        bench.close()
    assert texts[0] == texts[1]


def test_idle_chat_leaves_the_context_and_comes_back(steady_bench: MakeBench) -> None:
    """On the processor: where a GPU computes prompts, the end of one may not be worth a copy."""
    engine = steady_bench()
    first = chat("Hello!", SYSTEM)
    engine.ask("turn1", first, max_tokens=8)
    answer = engine.run().text("turn1")
    engine.ask("other", chat("Tell me a story.", "<|im_start|>system\nBe short.<|im_end|>\n"))
    engine.run()
    assert engine.engine.status().warm_bytes > 0
    following = first + answer + "<|im_end|>\n" + chat("And you?")
    engine.ask("turn2", following, max_tokens=8)
    collector = engine.run()
    assert collector.usage("turn2").cached_tokens >= len(engine.tokens(first))
    alone = one_at_a_time(steady_bench(retained=0, warm_bytes=0), [following], 8)
    assert_same_but_for_close_calls([collector.text("turn2")], alone)


def test_running_sequences_are_alone_in_the_context(bench: MakeBench) -> None:
    engine = bench()
    for index in range(6):
        engine.ask(f"r{index}", chat(QUESTIONS[index], f"system {index} " * 40), max_tokens=4)
    engine.run()
    engine.ask("last", chat("Hello!"), max_tokens=100)
    for _ in range(20):  # a block is saved or a sequence leaves in each step
        step(engine)
    assert engine.engine.status().cells_used < 60
    assert engine.run().usage("last").completion_tokens == 100


def test_whole_state_models_come_back_from_the_warm_tier(whole_state_model: Model) -> None:
    limits = {"threads": 1, "threads_batch": 1, "cells": 2048, "slots": 2, "chunk": 128}
    prompt = [3 + (7 * i) % 200 for i in range(300)]
    used = Bench(whole_state_model, "", **limits)  # type: ignore[arg-type]
    used.ask("first", prompt, max_tokens=24)
    used.run()
    longer = [*_computed(used), *range(50, 90)]
    used.ask("between", [5 + (3 * i) % 100 for i in range(150)], max_tokens=4)
    used.run()
    used.ask("longer", longer, max_tokens=24)
    collector = used.run()
    assert collector.usage("longer").cached_tokens == len(longer) - 40
    used.close()
    fresh = Bench(whole_state_model, "", **limits)  # type: ignore[arg-type]
    fresh.ask("longer", longer, max_tokens=24)
    assert fresh.run().text("longer") == collector.text("longer")
    fresh.close()


def test_warm_sequence_that_is_dropped_while_it_comes_back_does_no_harm(bench: MakeBench) -> None:
    engine = bench(cells=1024, context_limit=900, slots=2, warm_bytes=8 << 20)
    first = chat("Hello!", SYSTEM)
    engine.ask("first", first, max_tokens=4)
    answer = engine.run().text("first")
    engine.ask("between", list(range(300, 800)), max_tokens=4)
    engine.run()
    engine.ask("again", first + answer + "<|im_end|>\n" + chat("And you?"), max_tokens=4)
    assert engine.run().usage("again").completion_tokens == 4


def test_bad_row_ends_only_its_own_request(bench: MakeBench) -> None:
    engine = bench()
    engine.ask("bad", chat("Hello!"), sampling=Sampling(temperature=0.7, top_p=0.9))
    engine.ask("good", chat("Who are you?"))
    engine.engine.accept()
    parts = engine.engine._batcher.next()
    assert engine.engine.stepping.decode(parts)
    assert engine.engine.stepping._logits is not None
    engine.engine.stepping._logits[0] = np.nan
    engine.engine.stepping.commit(parts)
    collector = engine.run()
    assert "No token could be chosen" in collector.failed["bad"].error.message
    assert collector.usage("good").completion_tokens == 16
