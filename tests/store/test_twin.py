"""A stand-in has the model's shape, fewer layers and no weights, and the kernels take it."""

import threading
import time
from pathlib import Path

import pytest
from benchmarks.tiny import make
from msgspec import structs

from ai_assistant.protocol.errors import EngineError, ModelLoadFailed
from ai_assistant.protocol.layout import Case, Trial
from ai_assistant.store.anatomy import read_anatomy
from ai_assistant.store.gguf_header import read_header
from ai_assistant.store.models import starter_path
from ai_assistant.store.twin import write_twin
from ai_assistant.workers.trials import Stopped, run_trial


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
    cases = (Case(1), Case(64), Case(1, 100), Case(4, 100, 4), Case(8, 300))
    report = run_trial(Trial(path=str(twin), cases=cases, seconds=0.02))
    assert {one.case for one in report.times} == set(cases)
    assert all(one.seconds > 0 for one in report.times)
    assert any(name.startswith("weights/") for name in report.memory)
    assert any(name.startswith("compute/") for name in report.memory)


def test_stand_in_has_the_models_own_weights_where_that_is_wanted(tmp_path: Path) -> None:
    twin = tmp_path / "twin.gguf"
    write_twin(starter_path(), twin, 2, filled=True)
    model = tensors(starter_path())
    assert all(data == model[name] for name, data in tensors(twin).items())


def test_refusal_has_the_kernels_reason(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="refused"):
        run_trial(Trial(path=str(tmp_path / "nothing.gguf"), cases=(Case(1),)))


def test_torn_model_has_no_stand_in(tmp_path: Path) -> None:
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(starter_path().read_bytes()[:1000])
    with pytest.raises(ModelLoadFailed):
        write_twin(torn, tmp_path / "twin.gguf", 2)
    assert list(tmp_path.iterdir()) == [torn]


def test_mixture_keeps_what_chooses_its_experts(tmp_path: Path) -> None:
    source, twin = make("tiny-mixture", tmp_path / "m.gguf"), tmp_path / "twin.gguf"
    write_twin(source, twin, 1)
    model, part = tensors(source), tensors(twin)
    assert part["blk.0.ffn_gate_inp.weight"] == model["blk.0.ffn_gate_inp.weight"]
    assert part["blk.0.ffn_norm.weight"] == model["blk.0.ffn_norm.weight"]
    assert part["token_embd.weight"][:1000] == model["token_embd.weight"][:1000]
    assert not any(part["blk.0.ffn_up_exps.weight"])
    anatomy = read_anatomy(source)
    assert anatomy.experts == 8
    assert anatomy.layers[0].feeds == anatomy.layers[0].experts > 0
    trial = Trial(path=str(twin), cases=(Case(1), Case(64)), seconds=0.02, tokens=512)
    report = run_trial(structs.replace(trial, feeds_on_cpu=1, tensor_split=(1.0,)))
    assert all(one.seconds > 0 for one in report.times)


def tensors(path: Path) -> dict[str, bytes]:
    header, data = read_header(path), path.read_bytes()
    return {one.name: data[header.data_start + one.offset :][: one.bytes] for one in header.tensors}


def test_feed_forward_weights_may_lie_apart(tmp_path: Path) -> None:
    layer = read_anatomy(starter_path()).layers[0]
    assert 0 < layer.feeds < layer.bytes
    assert layer.experts == 0
    places = {"feeds_on_cpu": 3, "host_buffers": False, "kv_on_gpu": False, "op_offload": False}
    trial = Trial(path=str(starter_path()), cases=(Case(1),), load_mode="read", seconds=0.02)
    report = run_trial(structs.replace(trial, **places))
    assert report.times[0].seconds > 0


def test_trial_stops_when_told(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(Stopped):
        run_trial(Trial(path=str(starter_path()), cases=(Case(512),), seconds=60), stop)
    assert time.monotonic() - begun < 5
