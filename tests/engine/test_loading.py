"""A model comes into memory quickly, tells how far it is, and is the same as without us."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from benchmarks.tiny import make
from tests.engine.matmul_tools import lanes, libraries, requantised

from ai_assistant.engine import readahead_advice as advice
from ai_assistant.engine.kernels import Context, LoadError, Model, repack
from ai_assistant.engine.kernels.gguf import tensor_places
from ai_assistant.engine.kernels.libllama import llama as lib
from ai_assistant.engine.loading import Progress, load
from ai_assistant.engine.readahead import Ahead
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.store.gguf_header import read_header
from ai_assistant.store.models import starter_path


def plan(path: Path, **changes: object) -> EnginePlan:
    sizes = {
        "context_limit": 256, "cells": 256, "slots": 2, "retained": 2, "chunk": 64, "threads": 2,
        "threads_batch": 2, "gpu_layers": 0,
    } | changes  # fmt: skip
    return EnginePlan(model_path=str(path), **sizes)  # type: ignore[arg-type]


def logits(model: Model, tokens: list[int], **_: object) -> np.ndarray:
    """After the tokens, on one thread."""
    from array import array

    context = Context(
        model, cells=256, sequences=2, chunk=64, outputs=4, threads=1, threads_batch=1
    )
    try:
        context.batch.clear()
        context.batch.add(0, 0, array("i", tokens), 1)
        context.decode(context.batch)
        return context.logits(1)[0].copy()
    finally:
        context.close()


def test_tensors_are_where_the_store_says_too() -> None:
    header = read_header(starter_path())
    assert [(one.name, one.start, one.bytes) for one in tensor_places(str(starter_path()))] == [
        (one.name, header.data_start + one.offset, one.bytes) for one in header.tensors
    ]


def test_what_is_no_model_has_no_tensors(tmp_path: Path) -> None:
    (tmp_path / "torn.gguf").write_bytes(b"GGUF" + bytes(20))
    assert tensor_places(str(tmp_path / "torn.gguf")) == []
    assert tensor_places(str(tmp_path / "missing.gguf")) == []


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no way to drop a file's pages")
def test_reading_ahead_brings_all_of_a_file_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(40 << 20))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if advice.resident(str(path)) > 0.2:
        pytest.skip("this file system does not drop pages")
    heard: list[int] = []
    ahead = Ahead(str(path))
    ahead.on_bytes = heard.append
    ahead.start()
    ahead.wait()
    ahead.stop()
    assert advice.resident(str(path)) > 0.95
    assert sorted(heard)[-1] == 40 << 20


def test_reading_ahead_stops_when_nobody_waits_any_more(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(64 << 30)  # a hole: nothing to read, but many chunks
    ahead = Ahead(str(path))
    ahead.start()
    ahead.stop()
    assert ahead.done < 64 << 30


def test_progress_never_goes_back_and_ends_whole() -> None:
    told: list[float] = []
    progress = Progress(told.append, cold=1.0)
    for step in range(11):
        progress.read(step / 10)
    for step in range(11):
        progress.taken(step / 10)
    assert told == sorted(set(told))
    assert told[-1] == pytest.approx(1.0)


def test_a_loaded_model_answers_as_one_that_libllama_loads_by_itself() -> None:
    told: list[float] = []
    ours = load(plan(starter_path()), told.append)
    theirs = Model(str(starter_path()), gpu_layers=0)
    assert np.array_equal(logits(ours, [5, 6, 7]), logits(theirs, [5, 6, 7]))
    assert told == sorted(told)
    for model in (ours, theirs):
        model.close()


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises((LoadError, OSError)):
        load(plan(tmp_path / "nobody.gguf"), lambda _done: None)


def _repacked(path: str, split: bool) -> tuple[int, bytes]:
    """In a process of its own: once the kernels' function is replaced, it stays so."""
    if split:
        assert repack.install(2, advice.large_pages, small=0)
    model = Model(path, gpu_layers=0)
    count = sum(one.split for one in repack.installed)
    rearranged = any("REPACK" in kind for kind in model.weights)
    return count if rearranged else -1, logits(model, [9, 8, 7, 6]).tobytes()


@pytest.mark.parametrize("kind", ["tiny", "tiny-mixture"])
def test_weights_that_all_cores_rearrange_are_the_same(kind: str, tmp_path: Path) -> None:
    plain, packed = tmp_path / f"{kind}.gguf", tmp_path / "q4_0.gguf"
    make(kind, plain)
    requantised(plain, packed, lib.LLAMA_FTYPE_MOSTLY_Q4_0)
    answers: list[tuple[int, bytes]] = []
    for split in (False, True):
        # A crash of the kernels is told, and does not let the test wait.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            answers.append(process.submit(_repacked, str(packed), split).result())
    (untouched, expected), (split_tensors, found) = answers
    if untouched < 0:
        pytest.skip("this processor uses the weights as they are")
    assert untouched == 0
    assert split_tensors > 0
    assert found == expected


@pytest.mark.parametrize("kind", ["Q4_K_M", "Q8_0"])
def test_weights_that_are_multiplied_as_they_lie_are_the_files_own_pages(
    kind: str, tmp_path: Path
) -> None:
    """A second copy would take memory and time, and gain nothing."""
    if not any(map(lanes, libraries())):
        pytest.skip("our products are not for this processor")
    ftype = getattr(lib, f"LLAMA_FTYPE_MOSTLY_{kind}")
    path = requantised(starter_path(), tmp_path / f"{kind}.gguf", ftype)
    model = load(plan(path), lambda _done: None)
    assert list(model.weights) == ["CPU_Mapped"]
    model.close()


@pytest.mark.parametrize("kind", ["tiny", "tiny-mixture", "tiny-hybrid", "tiny-swa"])
def test_a_model_that_does_not_fit_answers_the_same(kind: str, tmp_path: Path) -> None:
    path = make(kind, tmp_path / f"{kind}.gguf")
    whole = load(plan(path), lambda _done: None)
    part = load(plan(path, resident_bytes=400_000), lambda _done: None)
    assert part.watch is not None
    prompts = [[5, 6, 7], list(range(20, 60)), [9]]
    for prompt in prompts:
        assert np.allclose(logits(part, prompt), logits(whole, prompt), atol=1e-4)
