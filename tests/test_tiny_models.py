"""The random-weight models of other tests load, and what they say depends on what was said."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from benchmarks.libllama import Model, opened
from benchmarks.tiny import KINDS, make

from ai_assistant.engine.kernels.libllama import llama as lib

TEXT_KINDS = [kind for kind in KINDS if kind not in ("tiny-embedding", "tiny-reranker")]
PROMPT = "<|im_start|>user\nhello world, the cat 你好 said: 42<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module", params=TEXT_KINDS)
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Model]:
    path = make(request.param, tmp_path_factory.mktemp("tiny") / f"{request.param}.gguf")
    with opened(path, context=512) as loaded:
        yield loaded


def test_text_survives_the_tokenizer(model: Model) -> None:
    tokens = model.tokenize(PROMPT, special=True)
    assert "".join(map(model.text, tokens)) == PROMPT
    assert model.text(tokens[0]) == "<|im_start|>"


def test_greedy_output_repeats_and_goes_on(model: Model) -> None:
    tokens = model.tokenize(PROMPT, special=True)
    first = model.greedy(tokens, 64)
    assert model.greedy(tokens, 64) == first
    assert min(first) > 2, "an end token was picked"
    assert len(set(first)) > 8, "the output is a loop"


def test_output_depends_on_a_far_token(model: Model) -> None:
    tokens = model.tokenize(PROMPT, special=True)
    changed = [*tokens[:3], tokens[3] + 1, *tokens[4:]]
    assert model.greedy(tokens, 64) != model.greedy(changed, 64)


def test_prefill_agrees_with_decode(model: Model) -> None:
    tokens = model.tokenize(PROMPT, special=True)
    output = model.greedy(tokens, 64)
    rows = model.logits([*tokens, *output])
    assert rows[len(tokens) - 1 : -1].argmax(axis=1).tolist() == output


def test_logits_are_neither_flat_nor_certain(model: Model) -> None:
    row = model.logits(model.tokenize(PROMPT, special=True))[-1]
    odds = np.exp(row - row.max())
    assert odds.max() / odds.sum() < 0.99
    assert odds.max() / odds.sum() > 5 / model.vocabulary


def test_each_kind_has_its_class_of_memory(tmp_path: Path) -> None:
    facts = {kind: _memory_class(make(kind, tmp_path / kind)) for kind in KINDS}
    assert facts["tiny"] == (False, False, 0)
    assert facts["tiny-swa"] == (False, False, 64)
    assert facts["tiny-recurrent"] == (True, False, 0)
    assert facts["tiny-hybrid"] == (False, True, 0)


def _memory_class(path: Path) -> tuple[bool, bool, int]:
    with opened(path, context=256) as loaded:
        handle = loaded.handle
        return (
            bool(lib.llama_model_is_recurrent(handle)),
            bool(lib.llama_model_is_hybrid(handle)),
            int(lib.llama_model_n_swa(handle)),
        )


def test_embeddings_tell_texts_apart(tmp_path: Path) -> None:
    path = make("tiny-embedding", tmp_path / "tiny-embedding.gguf")
    with opened(path, context=512, embedding=True) as loaded:
        cat, same, other = (
            loaded.embed(loaded.tokenize(text))
            for text in ("the cat is happy", "The cat is happy", "water and fire 你好")
        )
    assert math.isclose(_cosine(cat, same), 1, abs_tol=1e-5)
    assert _cosine(cat, other) < 0.9


def test_a_file_is_the_same_each_time(tmp_path: Path) -> None:
    first = make("tiny", tmp_path / "a").read_bytes()
    assert make("tiny", tmp_path / "b").read_bytes() == first
    assert make("tiny", tmp_path / "c", seed=2).read_bytes() != first


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
