"""A stand-in has the model's shape, fewer layers and no weights, and the kernels take it."""

from pathlib import Path

import pytest

from ai_assistant.protocol.errors import EngineError, ModelLoadFailed
from ai_assistant.protocol.layout import Case, Trial
from ai_assistant.store.anatomy import read_anatomy
from ai_assistant.store.gguf_header import read_header
from ai_assistant.store.models import starter_path
from ai_assistant.store.twin import write_twin
from ai_assistant.workers.trials import run_trial


def test_parts_are_the_whole_file() -> None:
    path = starter_path()
    anatomy, header = read_anatomy(path), read_header(path)
    assert len(anatomy.layers) == header.of_architecture("block_count")
    assert anatomy.weights == sum(tensor.bytes for tensor in header.tensors)
    assert header.data_start < path.stat().st_size
    assert len({layer.bytes for layer in anatomy.layers}) == 1


@pytest.mark.parametrize("layers", [1, 3])
def test_stand_in_runs_and_takes_no_room(tmp_path: Path, layers: int) -> None:
    twin = tmp_path / "twin.gguf"
    write_twin(starter_path(), twin, layers)
    whole, part = read_anatomy(starter_path()), read_anatomy(twin)
    assert part.layers == whole.layers[:layers]
    assert part.embedding == whole.embedding
    assert twin.stat().st_blocks * 512 < 4 << 20
    cases = (Case(1), Case(64), Case(1, 100))
    report = run_trial(Trial(path=str(twin), cases=cases, seconds=0.02))
    assert {one.case for one in report.times} == set(cases)
    assert all(one.seconds > 0 for one in report.times)
    assert any(name.startswith("weights/") for name in report.memory)
    assert any(name.startswith("compute/") for name in report.memory)


def test_refusal_has_the_kernels_reason(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="refused"):
        run_trial(Trial(path=str(tmp_path / "nothing.gguf"), cases=(Case(1),)))


def test_torn_model_has_no_stand_in(tmp_path: Path) -> None:
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(starter_path().read_bytes()[:1000])
    with pytest.raises(ModelLoadFailed):
        write_twin(torn, tmp_path / "twin.gguf", 2)
    assert list(tmp_path.iterdir()) == [torn]
