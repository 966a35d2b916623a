"""What is given up when memory is short, in which order, and what comes back."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ai_assistant.scheduler.relief import Ease, Held, Shrink, Unload, relieve, restore

MB, GB = 1 << 20, 1 << 30
CHAT = Held(id="chat", in_use=1, last_used=5.0, running=1, warm=GB, warm_planned=GB, slots=16,
            slots_planned=16, default=True)  # fmt: skip
SPARE = structs.replace(CHAT, id="spare", in_use=0, running=0, last_used=1.0, default=False)


def bare(one: Held, slots: int = 1) -> Held:
    return structs.replace(one, warm=0, slots=slots)


def test_nothing_is_given_up_without_need() -> None:
    assert relieve("calm", [CHAT, SPARE]) is None


def test_tiers_go_first_the_largest_before_others() -> None:
    small = structs.replace(SPARE, warm=100 * MB)
    assert relieve("tight", [small, CHAT]) == Ease("chat", GB // 2, 16)
    assert relieve("critical", [small, CHAT]) == Ease("chat", 0, 16)


def test_then_slots_but_not_those_that_are_taken_twice_over() -> None:
    models = [structs.replace(CHAT, warm=0, running=4), bare(SPARE)]
    assert relieve("tight", models) == Ease("chat", 0, 8)
    models = [structs.replace(CHAT, warm=0, running=4, slots=2), bare(SPARE)]
    assert relieve("tight", models) == Unload("spare")


def test_then_models_that_nobody_uses_the_default_last() -> None:
    idle = structs.replace(bare(CHAT), in_use=0, last_used=0.0)
    assert relieve("tight", [idle, bare(SPARE)]) == Unload("spare")
    assert relieve("tight", [idle]) is None
    assert relieve("critical", [idle]) == Unload("chat")


def test_at_last_a_model_in_use_is_laid_out_anew_but_only_in_need() -> None:
    last = structs.replace(bare(CHAT), smaller=True)
    assert relieve("tight", [last]) is None
    assert relieve("critical", [last]) == Shrink("chat")
    assert relieve("critical", [bare(CHAT)]) is None


def test_slots_come_back_before_tiers_and_tiers_only_where_there_is_room() -> None:
    eased = structs.replace(CHAT, warm=0, slots=4)
    assert restore([eased], 8 * GB, 16 * GB) == Ease("chat", 0, 8)
    whole = structs.replace(CHAT, warm=0)
    assert restore([whole], 8 * GB, 16 * GB) == Ease("chat", 16 * MB, 16)
    assert restore([whole], 1 * GB, 16 * GB) is None
    assert restore([CHAT], 8 * GB, 16 * GB) is None


held = st.builds(
    Held,
    id=st.sampled_from(["a", "b", "c"]),
    in_use=st.integers(0, 3),
    last_used=st.floats(0, 10),
    running=st.integers(0, 20),
    warm=st.integers(0, 8 * GB),
    warm_planned=st.just(8 * GB),
    slots=st.integers(1, 64),
    slots_planned=st.just(64),
    default=st.booleans(),
    smaller=st.just(False),
)


@given(
    st.lists(held, max_size=3, unique_by=lambda one: one.id), st.sampled_from(["tight", "critical"])
)
def test_relief_comes_to_an_end_and_never_unloads_what_is_in_use(
    models: list[Held], level: str
) -> None:
    for _ in range(400):
        step = relieve(level, models)  # type: ignore[arg-type]
        if step is None:
            return
        if isinstance(step, Unload):
            assert next(one for one in models if one.id == step.id).in_use == 0
            models = [one for one in models if one.id != step.id]
        elif isinstance(step, Ease):
            models = [
                structs.replace(one, warm=step.warm, slots=step.slots) if one.id == step.id else one
                for one in models
            ]
    raise AssertionError("it goes on for ever")
