"""`ps` says when a model was laid out anew, how and why."""

from msgspec import structs
from tests.fakes.fake_service import model

from ai_assistant.cli.move_line import move_lines
from ai_assistant.protocol.status import MoveStatus

MOVED = MoveStatus(
    at=1000.0, by="node", why="4 cores are granted, the plan had 2", how="in place",
    paused_seconds=0.05,
)  # fmt: skip


def test_last_move_is_told_with_its_reason() -> None:
    one = structs.replace(model("big"), moved=MOVED)
    assert move_lines(one, 1180.0) == [
        "Layout of big:",
        "  Laid out anew 3 min 0 s ago, in place, answers paused 0.05 s: "
        "4 cores are granted, the plan had 2.",
    ]


def test_what_went_wrong_is_told_and_what_stays_by_hand() -> None:
    failed = structs.replace(MOVED, error="It has no room.")
    lines = move_lines(structs.replace(model("big"), moved=failed, held=True), 1000.0)
    assert "but: It has no room." in lines[1]
    assert "`ai-assistant move big --release`" in lines[2]
    assert move_lines(model("big"), 1000.0) == []
