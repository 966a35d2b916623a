"""`ps` says which plan runs and why."""

import msgspec
from tests.fakes.fake_service import model

from ai_assistant.cli.plan_line import plan_lines
from ai_assistant.protocol.status import PlanStatus

PLAN = PlanStatus(
    summary="20 of 32 layers on the GPU, 8 threads",
    source="measured",
    reasons=("More does not fit into the GPU's 4.0 GB.",),
    ttft=0.5,
    tpot=0.021,
    measuring=0.25,
)


def test_plan_is_told_with_its_reasons() -> None:
    one = msgspec.structs.replace(model("big"), plan=PLAN)
    assert plan_lines(one) == [
        "Plan of big, as measured: 20 of 32 layers on the GPU, 8 threads.",
        "  More does not fit into the GPU's 4.0 GB.",
        "  Predicted: first token after 0.50 s, then one each 21.0 ms.",
        "  Its layers are timed while nobody asks anything: 25%.",
    ]


def test_nothing_is_told_of_what_is_not_there() -> None:
    assert plan_lines(model("small")) == []
    assert plan_lines(msgspec.structs.replace(model("small", state="unloaded"), plan=PLAN)) == []
