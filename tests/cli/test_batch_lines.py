"""What `batch watch` and `batch ls` print of a batch."""

import time
from typing import Any

import pytest

from ai_assistant.cli.batch_objects import Meter, progress_line, read_batch, table
from ai_assistant.cli.errors import CommandError

BATCH: dict[str, Any] = {
    "id": "batch_1",
    "status": "in_progress",
    "endpoint": "/v1/embeddings",
    "created_at": 1,
    "request_counts": {"total": 100, "completed": 38, "failed": 2},
}


def said(meter: Meter | None = None, **changes: Any) -> str:
    if meter is None:
        meter = Meter()
        meter.note(40, 0.0)
    return progress_line(read_batch({**BATCH, **changes}), meter)


def test_rate_and_time_left_are_those_of_the_last_minute() -> None:
    meter = Meter()
    for second in range(0, 301, 10):
        meter.note(0 if second < 250 else second - 250, second)
    assert meter.rate() == pytest.approx(50 / 60)
    fast = Meter()
    fast.note(20, 0.0)
    fast.note(40, 10.0)
    assert said(fast) == "in progress, 40 of 100, 2 failed, 2.0 lines/s, 30 s left"


def test_at_the_first_look_no_rate_is_known() -> None:
    assert said() == "in progress, 40 of 100, 2 failed"


def test_why_it_waits_is_said() -> None:
    until = int(time.mktime((2026, 11, 22, 22, 0, 0, 0, 0, -1)))
    doing = {
        "state": "waiting",
        "reason": "window",
        "message": "It goes on\x1b[2J later.",
        "until": until,
    }
    line = said(ai_assistant=doing)
    assert line.endswith("waits for the window until 22:00: It goes on[2J later.")
    assert said(ai_assistant={"state": "queued", "online": False}).endswith(", offline")


def test_an_ended_batch_has_no_time_left() -> None:
    counts = {"total": 100, "completed": 98, "failed": 2}
    assert said(status="completed", request_counts=counts) == "completed, 100 of 100, 2 failed"


def test_a_row_says_what_is_waited_for() -> None:
    doing = {"state": "waiting", "reason": "network"}
    row = table([read_batch({**BATCH, "ai_assistant": doing})]).splitlines()[1]
    assert row.split()[:6] == ["batch_1", "in_progress", "(network)", "38", "2", "100"]


def test_another_servers_answer_is_told_apart() -> None:
    with pytest.raises(CommandError, match="not a batch"):
        read_batch({"id": 5})
