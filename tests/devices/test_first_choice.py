"""Before anything was measured, bytes decide; what finds no room is made smaller until it fits."""

from hypothesis import given
from hypothesis import strategies as st
from tests.devices.layout_tools import BOTH, GIGABYTE, anatomy

from ai_assistant.devices.layout.correct import LEAST, MOST, learned
from ai_assistant.devices.layout.first import by_bytes, smaller
from ai_assistant.devices.layout.predict import NEUTRAL, Layout, step
from ai_assistant.devices.layout.room import Limits, estimated, memory
from ai_assistant.devices.layout.search import Wanted

ALL = Wanted(cells=(32_768, 16_384, 8192, 4096), kv_types=("f16", "q8_0"), threads=8)


def limits(*gpus: float) -> Limits:
    return Limits(ram=64 * GIGABYTE, gpus=tuple(int(gpu * GIGABYTE) for gpu in gpus))


@given(st.integers(0, 16), st.booleans(), st.integers(0, 16))
def test_first_choice_never_takes_more_than_there_is(gpu: int, mixture: bool, other: int) -> None:
    model = anatomy(experts=8 if mixture else 0)
    for room in (limits(gpu), limits(gpu, other)):
        layout = by_bytes(model, room, ALL)
        assert layout is not None
        assert room.hold(memory(model, layout, estimated(model)))


def test_more_room_never_means_fewer_layers() -> None:
    counts = [by_bytes(anatomy(), limits(size / 2), ALL) for size in range(20)]
    layers = [one.gpu_layers for one in counts if one]
    assert layers == sorted(layers)
    assert layers[0] == 0
    assert layers[-1] == 33


def test_context_gives_way_before_layers_do_but_not_below_comfort() -> None:
    roomy, tight = by_bytes(anatomy(), limits(24), ALL), by_bytes(anatomy(), limits(6.5), ALL)
    assert roomy is not None
    assert tight is not None
    assert (roomy.gpu_layers, roomy.cells, roomy.kv_type) == (33, 32_768, "f16")
    assert tight.gpu_layers == 33
    assert tight.cells >= 8192


def test_of_a_mixture_the_attention_goes_to_the_gpu_first() -> None:
    layout = by_bytes(anatomy(experts=8), limits(3.5), ALL)
    assert layout
    assert layout.gpu_layers == 33
    assert 0 < layout.feeds_on_cpu < 32


def test_nothing_fits_where_memory_is_short() -> None:
    assert by_bytes(anatomy(), Limits(ram=GIGABYTE, gpus=(GIGABYTE,)), ALL) is None


@given(st.integers(1, 60), st.integers(0, 34), st.booleans())
def test_smaller_plans_end_on_the_processor(layers: int, gpu_layers: int, mixture: bool) -> None:
    model = anatomy(layers, experts=8 if mixture else 0)
    layout: Layout | None = Layout(gpu_layers=gpu_layers, threads=1)
    sizes: list[int] = []
    while layout:
        sizes.append(memory(model, layout, estimated(model)).gpu)
        layout = smaller(layout, model)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 0
    assert len(sizes) < 40


def test_steps_of_the_model_correct_the_terms() -> None:
    layout = Layout(gpu_layers=17, threads=8)
    factors = NEUTRAL
    for _ in range(300):
        for tokens, depth in ((1, 100), (1, 4000), (512, 0)):
            predicted = step(anatomy(), BOTH, layout, tokens, depth)
            factors = learned(factors, predicted, 1.3 * predicted.total)
    found = step(anatomy(), BOTH, layout, 1, 500, factors=factors).total
    plain = step(anatomy(), BOTH, layout, 1, 500).total
    assert 1.25 < found / plain < 1.35


@given(st.lists(st.floats(0, 100), max_size=60))
def test_what_was_learned_stays_within_bounds(steps: list[float]) -> None:
    predicted = step(anatomy(), BOTH, Layout(gpu_layers=17, threads=8), 1, 500)
    factors = NEUTRAL
    for seconds in steps:
        factors = learned(factors, predicted, seconds)
    assert all(LEAST <= getattr(factors, name) <= MOST for name in factors.__struct_fields__)


def test_disturbed_steps_teach_nothing_and_old_lessons_fade() -> None:
    predicted = step(anatomy(), BOTH, Layout(gpu_layers=17, threads=8), 1, 500)
    assert learned(NEUTRAL, predicted, 30 * predicted.total) == NEUTRAL
    factors = NEUTRAL
    for _ in range(100):
        factors = learned(factors, predicted, 1.5 * predicted.total)
    for _ in range(100):
        factors = learned(factors, predicted, predicted.total)
    after = step(anatomy(), BOTH, Layout(gpu_layers=17, threads=8), 1, 500, factors=factors).total
    assert abs(after / predicted.total - 1) < 0.02
