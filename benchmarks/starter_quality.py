"""Held-out loss, size and rough speed of the starter model's files.

`python -m benchmarks.starter_quality --chat CHATS.jsonl --plain TEXTS.txt MODEL.gguf …`

Loss is nats per token: over what the assistant says (with its end token) in CHATS, one JSON object
with `messages` per line; and over each of the first pieces of TEXTS, separated by blank lines.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.libllama import Model, opened
from benchmarks.report import Record, publish

Scored = tuple[list[int], list[bool]]
"""Tokens, and for each whether its prediction counts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--chat", type=Path, required=True)
    parser.add_argument("--plain", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=120)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    records: list[Record] = []
    for path in args.models:
        with opened(path, context=2048, threads=args.threads) as model:
            chat = loss(model, chats(model, args.chat))
            plain = loss(model, pieces(model, args.plain, args.pieces))
            speed = model.decode_speed(model.tokenize("Once upon a time there was"), 200)
        records += [
            Record(f"{path.stem}: size", path.stat().st_size, "bytes"),
            Record(f"{path.stem}: chat loss", chat, "nats/token"),
            Record(f"{path.stem}: plain loss", plain, "nats/token"),
            Record(f"{path.stem}: decode, {args.threads} thread(s)", speed, "tokens/s"),
        ]
    publish("starter_quality", records)


def loss(model: Model, texts: Iterator[Scored]) -> float:
    """Mean negative log-probability of the tokens that count."""
    total, count = 0.0, 0
    for tokens, counts in texts:
        if len(tokens) < 2:
            continue
        losses = token_losses(model, tokens)
        counted = np.array(counts[1:])
        total += float(losses[counted].sum())
        count += int(counted.sum())
    return total / count


def token_losses(model: Model, tokens: list[int]) -> np.ndarray:
    """The loss of each token but the first."""
    rows = model.logits(tokens)[:-1].astype(np.float64)
    rows -= rows.max(axis=1, keepdims=True)
    chosen = rows[np.arange(len(rows)), tokens[1:]]
    return np.log(np.exp(rows).sum(axis=1)) - chosen


def chats(model: Model, path: Path) -> Iterator[Scored]:
    """Conversations in ChatML; only the assistant's words count."""
    for line in path.read_text().splitlines():
        tokens: list[int] = []
        counts: list[bool] = []
        for message in json.loads(line)["messages"]:
            said = message["role"] == "assistant"
            for text, counted in (
                (f"<|im_start|>{message['role']}\n", False),
                (f"{message['content']}<|im_end|>", said),
                ("\n", False),
            ):
                ids = model.tokenize(text, special=True)
                tokens += ids
                counts += [counted] * len(ids)
        yield tokens[: model.context], counts[: model.context]


def pieces(model: Model, path: Path, limit: int) -> Iterator[Scored]:
    """Texts, each from its own beginning."""
    for text in path.read_text().split("\n\n")[:limit]:
        tokens = model.tokenize(text)[: model.context]
        yield tokens, [True] * len(tokens)


if __name__ == "__main__":
    main()
