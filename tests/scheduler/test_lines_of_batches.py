"""Where lines of batches go: here while there is time, elsewhere when there is none."""

from ai_assistant.protocol.requests import Origin
from ai_assistant.scheduler.routing.decide import decide
from ai_assistant.scheduler.routing.facts import Ask, CandidateFacts, Pace
from ai_assistant.scheduler.routing.lines import STAYS, as_lines_go

LINE = Origin(job="batch_1")
LATE = Origin(job="batch_1", spill=True)


def one(name: str, **changes: object) -> CandidateFacts:
    place = "process" if name == "here" else "cloud"
    fields: dict[str, object] = {
        "name": name, "place": place, "abilities": frozenset({"chat"}), "quality": 50.0,
        "guess": Pace(first=1.0, per_prompt_token=0.001, tpot=0.1), **changes,
    }  # fmt: skip
    return CandidateFacts(**fields)  # pyright: ignore[reportArgumentType]


def order(origin: Origin, *facts: CandidateFacts) -> list[str]:
    after = as_lines_go(origin, facts)
    choice = decide(after, Ask(prompt_tokens=10, answer_tokens=10))
    return [facts[ranked.place].name for ranked in choice.ranked]


def test_other_requests_are_left_alone() -> None:
    facts = [one("cloud"), one("here")]
    assert as_lines_go(Origin(), facts) == facts


def test_a_line_with_time_stays_here() -> None:
    assert order(LINE, one("cloud"), one("here")) == ["here"]
    assert as_lines_go(LINE, [one("cloud"), one("here")])[0].rest == STAYS


def test_a_late_line_goes_elsewhere_and_here_only_if_nobody_there_can() -> None:
    assert order(LATE, one("here"), one("cloud")) == ["cloud", "here"]
    assert order(LATE, one("here"), one("cloud", rest="it failed")) == ["here"]
    assert order(LATE, one("here"), one("cloud", kept="the rules")) == ["here"]


def test_a_line_for_a_cloud_goes_there_with_the_owners_fallback_behind_it() -> None:
    assert order(LINE, one("cloud"), one("here", standby="fallback")) == ["cloud", "here"]
    assert order(LINE, one("cloud")) == ["cloud"]
