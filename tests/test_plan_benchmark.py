"""What llama.cpp says of its own choice is read as it is printed."""

from benchmarks.plan_gpu import fit_choice, unchanged
from benchmarks.plan_points import LONG, SHORT, Point, cases_of

from ai_assistant.devices.layout.predict import Layout
from ai_assistant.protocol.layout import Trial

TRIAL = Trial(path="m.gguf", cases=cases_of(LONG))


def test_all_layers() -> None:
    layout, change = fit_choice("-c 8960 -ngl -1", 32, 8)
    assert (layout.gpu_layers, layout.cells, layout.threads) == (33, 8960, 8)
    assert change(TRIAL).on_cpu == ()


def test_some_layers_and_experts_apart() -> None:
    line = (
        '-c 4096 -ngl 20 -ot "blk\\.3\\.ffn_(up|down|gate)_(ch|)exps=CPU,blk\\.4\\.ffn_up.*=CUDA1"'
    )
    layout, change = fit_choice(line, 32, 8)
    assert layout.gpu_layers == 20
    assert change(TRIAL).on_cpu == ("blk\\.3\\.ffn_(up|down|gate)_(ch|)exps",)


def test_error_is_of_the_steps_that_are_meant() -> None:
    point = Point(
        layout=Layout(gpu_layers=0, threads=1),
        predicted=tuple([1.1, 2.0] * len(SHORT)),
        measured=tuple([1.0, 1.0] * len(SHORT)),
        work=SHORT,
    )
    assert max(point.errors(decode=False)) < 10.1
    assert min(point.errors(decode=True)) > 99
    assert point.turn("batch", point.measured) == 1 + 300 / 16
    assert unchanged(TRIAL) is TRIAL
