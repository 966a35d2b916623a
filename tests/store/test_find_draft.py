"""Which model can draft for which: the same tokens, much smaller, able to take tokens back."""

from pathlib import Path

import gguf
import pytest
from benchmarks.tiny import make
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ai_assistant.protocol.layout import LayerPart, ModelAnatomy
from ai_assistant.protocol.status import ModelInfo
from ai_assistant.store.drafts import Speaker, family_of, find_draft, read_speaker
from ai_assistant.store.models import read_model, starter_path
from ai_assistant.store.tokenizer import Tokenizer

GIGA = 10**9
TOKENS = Tokenizer(kind="gpt2", size=1000, digest="a", begin=1, end=2, adds_begin=True)


def model(name: str, size: float, *, embedding: bool = False) -> ModelInfo:
    return ModelInfo(
        id=name, name=name, path=f"/models/{name}.gguf", size_bytes=int(size * GIGA),
        architecture="llama", quantisation="Q4_K", parameters=1, context_train=4096,
        embedding=embedding,
    )  # fmt: skip


def speaker(
    one: ModelInfo, tokenizer: Tokenizer = TOKENS, *, takes_back: bool = True, used: int = 0
) -> Speaker:
    """Its weights are in one layer; with `used` of eight experts that are all of it."""
    part = LayerPart(bytes=one.size_bytes, experts=one.size_bytes if used else 0)
    anatomy = ModelAnatomy(
        architecture="llama", width=1, heads=1, layers=(part,), embedding=LayerPart(bytes=0),
        output=LayerPart(bytes=0), experts=8 if used else 0, experts_used=used,
    )  # fmt: skip
    return Speaker(tokenizer, anatomy, takes_back)


BIG = model("Qwen2.5-32B-Instruct", 20)
KIN = model("Qwen2.5-0.5B-Instruct", 0.5)
TINY = model("strange-0.1b", 0.1)


def found(target: ModelInfo, *here: ModelInfo, name: str = "", **other: Speaker):  # type: ignore[no-untyped-def]
    speakers = {one.id: speaker(one) for one in (target, *here)} | other
    return find_draft(target, [target, *here], lambda one: speakers[one.id], name)


def test_family_comes_before_size() -> None:
    result = found(BIG, TINY, KIN)
    assert (result.draft, result.kin) == (KIN, True)
    result = found(BIG, TINY)
    assert (result.draft, result.kin) == (TINY, False)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"digest": "b"}, "other tokens"),
        ({"kind": "llama"}, "other tokens"),
        ({"end": 7}, "other tokens"),
        ({"adds_begin": False}, "other tokens"),
    ],
)
def test_other_tokens_do_not_fit(change: dict[str, object], word: str) -> None:
    foreign = speaker(KIN, structs.replace(TOKENS, **change))
    result = found(BIG, KIN, name=KIN.id, **{KIN.id: foreign})
    assert result.draft is None
    assert word in result.reason


def test_what_a_file_does_not_say_is_no_difference() -> None:
    silent = speaker(KIN, structs.replace(TOKENS, begin=-1, adds_begin=None, size=1128))
    assert found(BIG, KIN, **{KIN.id: silent}).draft == KIN


def test_neither_embeddings_nor_windows_nor_itself() -> None:
    assert found(BIG, model("embed", 0.3, embedding=True)).draft is None
    assert found(BIG).draft is None
    assert found(BIG, KIN, **{KIN.id: speaker(KIN, takes_back=False)}).draft is None
    assert found(BIG, KIN, **{BIG.id: speaker(BIG, takes_back=False)}).draft is None
    assert found(model("embed", 20, embedding=True), KIN).draft is None


def test_bytes_of_a_token_count_and_not_those_of_the_file() -> None:
    half = model("half", 10)
    assert found(BIG, half).draft is None
    mixture = speaker(half, used=1)
    assert found(BIG, half, half=mixture).draft == half
    assert found(BIG, KIN, **{BIG.id: speaker(model("m", 2), used=1)}).draft is None


def test_owner_names_one_or_hears_why_not() -> None:
    assert found(BIG, TINY, KIN, name=TINY.id).draft == TINY
    assert KIN.id in found(BIG, KIN, name="nobody").reason
    assert "not 4 times smaller" in found(BIG, model("half", 10), name="half").reason


def test_known_family_says_what_to_get() -> None:
    assert "Qwen2.5-0.5B-Instruct would fit" in found(BIG).reason
    assert "would fit" not in found(KIN).reason
    assert "would fit" not in found(model("nobody's", 20)).reason


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Meta Llama 3.1 70B Instruct", "Llama 3"), ("Llama-3.2-1B-Instruct-Q4_K_M", "Llama 3"),
        ("CodeLlama-34b", None), ("Qwen2.5-Coder-32B-Instruct", "Qwen2.5 Coder"),
        ("Qwen2.5 VL 7B", None), ("Qwen3-0.6B", "Qwen3"), ("Qwen3-VL-8B", None),
        ("Qwen3.5-9B", None), ("SmolLM2-1.7B-Instruct", "SmolLM2"),
    ],
)  # fmt: skip
def test_families_are_told_by_their_names(name: str, family: str | None) -> None:
    one = family_of(model(name, 1))
    assert (one.family if one else None) == family


@given(st.lists(st.sampled_from([BIG, KIN, TINY, model("half", 10)]), unique_by=lambda m: m.id))
def test_order_of_the_models_does_not_matter(here: list[ModelInfo]) -> None:
    assert found(BIG, *here).draft == found(BIG, *reversed(here)).draft


# Real files.


def test_same_tokens_are_the_same_in_other_weights(tmp_path: Path) -> None:
    one, two = (make("tiny", tmp_path / f"{seed}.gguf", seed=seed) for seed in (1, 2))
    same = [read_speaker(read_model(path, path.stem)) for path in (one, two)]
    assert same[0].tokenizer.same(same[1].tokenizer)
    starter = read_speaker(read_model(starter_path(), "starter"))
    assert not starter.tokenizer.same(same[0].tokenizer)
    assert starter.tokenizer.size == 16_384
    assert starter.takes_back


@pytest.mark.parametrize("kind", ["tiny-swa", "tiny-recurrent", "tiny-hybrid"])
def test_windows_and_states_are_read_from_the_file(tmp_path: Path, kind: str) -> None:
    path = make(kind, tmp_path / "model.gguf")
    assert not read_speaker(read_model(path, "model")).takes_back


@pytest.mark.parametrize(
    ("texts", "same"),
    [
        (["a", "b", "[PAD2]", "[PAD3]"], True),
        (["a", "b", "<|reserved_7|>"], True),
        (["a", "b", "c"], False),
        (["a", "[PAD1]", "b"], False),
        (["b", "a"], False),
    ],
)
def test_filling_at_the_end_is_no_difference(
    tmp_path: Path, texts: list[str], *, same: bool
) -> None:
    plain = _vocabulary(tmp_path / "plain.gguf", ["a", "b"])
    other = _vocabulary(tmp_path / "other.gguf", texts)
    assert plain.same(other) is same
    assert other.size == len(texts)


def _vocabulary(path: Path, texts: list[str]) -> Tokenizer:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(texts)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return read_speaker(read_model(path, path.stem)).tokenizer
