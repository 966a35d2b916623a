"""`ai-assistant bench`: how fast a model is here, as a client sees it."""

import json
import random
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import msgspec

from ai_assistant.cli.answer import Answer
from ai_assistant.cli.client import Client
from ai_assistant.cli.connect import running_or_temporary, target
from ai_assistant.cli.errors import CommandError, NodeRefused
from ai_assistant.cli.options import json_option, model_option, node_options
from ai_assistant.cli.output import columns
from ai_assistant.protocol.status import EngineStatus

_SYLLABLES = ("ka", "lo", "mi", "ter", "san", "vu", "ren", "po", "dal", "qui", "fe", "nor")
_PROMPT_WORDS = 300
_STREAMS = 8


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured; the last two are the engine's own."""

    model: str
    prefill_tokens: int
    prefill_tokens_per_second: float
    first_token_ms: float
    """Median, for a short question."""
    decode_tokens_per_second: float
    streams: int
    decode_tokens_per_second_streams: float
    """All streams together."""
    decode_ms_mean: float | None
    python_ms_mean: float | None


@click.command("bench")
@model_option
@click.option(
    "--tokens", type=click.IntRange(8, 2048), default=128, show_default=True, help="Per answer."
)
@click.option(
    "--streams", type=click.IntRange(1, 64), default=_STREAMS, show_default=True, help="At once."
)
@json_option
@node_options
def command(
    model: str | None,
    tokens: int,
    streams: int,
    as_json: bool,
    url: str | None,
    config_file: Path | None,
    api_key_file: Path | None,
) -> None:
    """Measure the speed of a model here.

    The prompts are random words, new each time, so that nothing comes from the cache. Run it
    on an idle machine: other programs and other requests slow it down.

    \b
    Examples:
      ai-assistant bench
      ai-assistant bench --model starter --tokens 64 --json
    """
    with running_or_temporary(target(url, config_file, api_key_file)) as client:
        note = _silent if as_json else _note
        figures = measure(client, model, tokens=tokens, streams=streams, note=note)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(figures)))
        return
    click.echo(columns(("what", "value"), as_rows(figures)))


def measure(
    client: Client,
    model: str | None,
    *,
    tokens: int,
    streams: int,
    note: Callable[[str], None],
) -> Figures:
    """All figures, one after the other."""
    note("warming up")
    _ask(client, model, words(4), 4)
    note("time to first token")
    first = [_seconds_to_first(_ask(client, model, words(8), 2)) for _ in range(5)]
    note("prefill")
    long = _longest(client, model)
    note("decode, 1 stream")
    alone = _together(client, model, tokens, 1)
    note(f"decode, {streams} streams")
    crowd = _together(client, model, tokens, streams)
    engine = _engine(client, long.model)
    assert long.usage is not None
    computed = long.usage.prompt_tokens - long.usage.cached_tokens
    return Figures(
        model=long.model,
        prefill_tokens=computed,
        prefill_tokens_per_second=round(computed / _seconds_to_first(long), 1),
        first_token_ms=round(statistics.median(first) * 1000, 1),
        decode_tokens_per_second=alone,
        streams=streams,
        decode_tokens_per_second_streams=crowd,
        decode_ms_mean=engine and round(engine.decode_ms_mean, 3),
        python_ms_mean=engine and round(engine.python_ms_mean, 3),
    )


def words(count: int) -> str:
    """Words that no cache has seen."""
    made = ("".join(random.choices(_SYLLABLES, k=2)) for _ in range(count))
    return f"Write about: {' '.join(made)}."


def _ask(client: Client, model: str | None, text: str, tokens: int) -> Answer:
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
    }
    answer = Answer()
    for piece in client.answer(body | ({"model": model} if model else {})):
        answer.add(piece)
    if answer.usage is None:
        raise CommandError("The node did not say how many tokens it made.")
    return answer


def _longest(client: Client, model: str | None) -> Answer:
    """A long prompt, shorter if the model's context demands it."""
    count = _PROMPT_WORDS
    while True:
        try:
            return _ask(client, model, words(count), 1)
        except NodeRefused as refusal:
            if refusal.code != "context_length_exceeded" or count < 16:
                raise
            count //= 2


def _seconds_to_first(answer: Answer) -> float:
    """A token that gives no visible text still ends the wait: then the whole time stands."""
    return answer.first_token_seconds or answer.seconds or 1e-9


def _together(client: Client, model: str | None, tokens: int, streams: int) -> float:
    """Tokens per second over all streams, from the first question to the last token."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        jobs = [pool.submit(_ask, client, model, words(8), tokens) for _ in range(streams)]
        answers = [job.result() for job in jobs]
    spent = time.perf_counter() - begun
    if streams == 1 and answers[0].tokens_per_second:
        return round(answers[0].tokens_per_second, 1)
    made = sum(answer.usage.completion_tokens for answer in answers if answer.usage)
    return round(made / spent, 1)


def _engine(client: Client, model: str) -> EngineStatus | None:
    found = [one.engine for one in client.status().models if one.model.id == model]
    return found[0] if found else None


def as_rows(figures: Figures) -> list[tuple[str, str]]:
    """The table."""
    rows = [
        ("model", figures.model),
        ("prefill", f"{figures.prefill_tokens_per_second:.1f} tokens/s"),
        ("time to first token", f"{figures.first_token_ms:.1f} ms"),
        ("decode, 1 stream", f"{figures.decode_tokens_per_second:.1f} tokens/s"),
        (
            f"decode, {figures.streams} streams",
            f"{figures.decode_tokens_per_second_streams:.1f} tokens/s",
        ),
    ]
    if figures.decode_ms_mean is not None:
        rows.append(("kernels per step", f"{figures.decode_ms_mean:.2f} ms"))
    if figures.python_ms_mean is not None:
        rows.append(("Python per step", f"{figures.python_ms_mean:.2f} ms"))
    return rows


def _note(text: str) -> None:
    click.echo(click.style(f"{text} …", dim=True), err=True)


def _silent(_: str) -> None:
    """A script reads only the result."""
