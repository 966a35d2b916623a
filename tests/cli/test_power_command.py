"""`ai-assistant power`, and what `ps` says of it."""

import msgspec
import pytest
from tests.fakes.fake_service import FakeService

from ai_assistant.cli.power import allowed, lines
from ai_assistant.cli.ps import page
from ai_assistant.protocol.power import PowerStatus, Restraint

MEASURED = PowerStatus(
    mode="45 W",
    restraint=Restraint(threads=6, work=0.75),
    slowed_by="power",
    watts=44.25,
    joules_per_token=0.5,
    sensors=("rapl package-0",),
)


@pytest.mark.parametrize(
    ("restraint", "words"),
    [
        (Restraint(), "everything may be used"),
        (Restraint(threads=1), "at most 1 thread"),
        (
            Restraint(threads=4, slots=4, speculation=False, work=0.5),
            "at most 4 threads, 4 requests at once, no guesses, working 50% of the time",
        ),
    ],
)
def test_what_engines_may_use(restraint: Restraint, words: str) -> None:
    assert allowed(restraint) == words


def test_a_report_of_what_is_measured() -> None:
    text = "\n".join(lines(MEASURED))
    assert "slowed down to keep to the watts" in text
    assert "44.2 W, 0.50 J per token" in text
    assert "measured by rapl package-0" in text


def test_without_a_sensor_no_figure_is_told() -> None:
    text = "\n".join(lines(PowerStatus(mode="quiet", refused=("echo x | sudo tee /y",))))
    assert "no sensor" in text
    assert "J per token" not in text
    assert "you could: echo x | sudo tee /y" in text


def test_ps_tells_of_power_only_where_there_is_something_to_tell() -> None:
    status = FakeService().status()
    quiet = msgspec.structs.replace(status, power=PowerStatus(mode="quiet"))
    measured = msgspec.structs.replace(status, power=MEASURED)
    assert "Power" not in page(status, "here")
    assert "Power" not in page(msgspec.structs.replace(status, power=PowerStatus()), "here")
    assert "Power: quiet" in page(quiet, "here")
    assert "Power: 45 W, 44.2 W, 0.50 J per token, slowed by power" in page(measured, "here")
