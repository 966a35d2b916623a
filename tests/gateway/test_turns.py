"""Turns in the order that templates know."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.gateway.turns import in_order
from ai_assistant.protocol.requests import ChatMessage, ToolCall


def turn(role: str, content: str = "") -> ChatMessage:
    return ChatMessage(role=role, content=content)


turns = st.lists(
    st.builds(turn, st.sampled_from(["system", "user", "assistant", "tool"]), st.text("ab"))
)


def test_leading_systems_are_one() -> None:
    found = in_order([turn("system", "a"), turn("system", "b"), turn("user", "c")])
    assert found == (turn("system", "a\n\nb"), turn("user", "c"))


def test_a_later_system_is_a_reminder_in_the_users_turn() -> None:
    found = in_order([turn("user", "a"), turn("system", "b"), turn("user", "c")])
    assert found == (turn("user", "a\n\n<system-reminder>\nb\n</system-reminder>\n\nc"),)


def test_calls_of_neighbours_stay_together() -> None:
    calls = [ToolCall(id=str(i), name="f", arguments="{}") for i in range(2)]
    found = in_order([ChatMessage(role="assistant", tool_calls=(call,)) for call in calls])
    assert found == (ChatMessage(role="assistant", tool_calls=tuple(calls)),)


def test_results_stay_apart() -> None:
    results = (turn("tool", "a"), turn("tool", "b"))
    assert in_order(results) == results


@given(turns)
def test_roles_take_turns_and_nothing_is_lost(messages: list[ChatMessage]) -> None:
    found = in_order(messages)
    assert all(message.role != "system" for message in found[1:])
    assert all(one.role != other.role or one.role == "tool" for one, other in pairwise(found))
    letters = "".join(message.content or "" for message in messages)
    kept = "".join(message.content or "" for message in found)
    kept = kept.replace("<system-reminder>", "").replace("</system-reminder>", "")
    assert kept.replace("\n", "") == letters
