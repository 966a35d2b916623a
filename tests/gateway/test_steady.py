"""What clients put in front of a system prompt does not spoil the cache of what follows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.gateway.steady import Lead, split_lead, steady
from ai_assistant.protocol.requests import ChatMessage

PROMPT = "You are a careful assistant.\n\nToday's date is 2024-01-01 in this example."
BILLING = "x-anthropic-billing-header: cc_version=2.1.37.3a3; cc_entrypoint=cli; cch={};"


def talk(system: str, user: str = "hi") -> list[ChatMessage]:
    return [ChatMessage(role="system", content=system), ChatMessage(role="user", content=user)]


@pytest.mark.parametrize("between", ["\n", "\n\n", " \n\n\n"])
def test_header_lines_are_dropped(between: str) -> None:
    one, other = (steady(talk(BILLING.format(n) + between + PROMPT)) for n in ("aa", "bb"))
    assert one == other == tuple(talk(PROMPT))


@pytest.mark.parametrize(
    "line",
    [
        "Today's date: 2026-11-22",
        "Current date: November 22, 2026",
        "The current date is Sunday, Nov 22 2026.",
        "# Date: 22/11/2026",
        "Today: 2026年11月22日",
    ],
)
def test_dates_go_to_the_end_of_the_prompt(line: str) -> None:
    (system, user) = steady(talk(f"{line}\n{PROMPT}"))
    assert system.content == f"{PROMPT}\n\n{line}"
    assert user.content == "hi"


@pytest.mark.parametrize(
    "line",
    [
        "Current time: 2026-11-22T04:45:01Z",
        "The current date and time is Sunday, 22 November 2026, 4:45 PM.",
        "Timestamp: 1795322701",
        "[time] 04:45",
    ],
)
def test_times_go_to_the_last_turn_of_the_user(line: str) -> None:
    talked = [
        *talk(f"{line}\n{PROMPT}", "one"),
        ChatMessage(role="assistant", content="yes"),
        ChatMessage(role="user", content="two"),
        ChatMessage(role="tool", content="done"),
    ]
    found = steady(talked)
    assert [message.content for message in found] == [
        PROMPT, "one", "yes", f"{line}\n\ntwo", "done",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "system",
    [
        PROMPT,
        "You are Ember.\nCurrent time: 04:45",
        "Date nights: plan one for 2026-11-22, please.\nBe kind.",
        "Today's date: 2026-11-22. " + "Be kind! " * 30,
        "Today you are a pirate.",
        "Time flies.",
        "x-ray: a picture of bones",
        "Current events matter.",
        "",
    ],
)
def test_everything_else_stays_where_it_is(system: str) -> None:
    long = talk(system)
    assert steady(long) == tuple(long)


def test_nothing_is_lost_without_a_user() -> None:
    (system,) = steady([ChatMessage(role="system", content=f"Current time: 04:45\n{PROMPT}")])
    assert system.content == f"{PROMPT}\n\nCurrent time: 04:45"


def test_a_prompt_of_headers_alone_is_none() -> None:
    (only,) = steady(talk(BILLING.format("aa")))
    assert only.role == "user"


@given(st.text())
def test_any_prompt_keeps_its_words(system: str) -> None:
    lead = split_lead(system)
    assert isinstance(lead, Lead)
    assert system.rstrip().endswith(lead.rest.rstrip()) or not lead.rest
    assert split_lead(lead.rest).rest == lead.rest


@given(st.lists(st.sampled_from([BILLING, "Date: 2026-01-02", "Time: 04:45", "", "Be kind."])))
def test_twice_is_the_same_as_once(lines: list[str]) -> None:
    lead = split_lead("\n".join(lines))
    assert split_lead(lead.rest) == Lead(lead.rest)
