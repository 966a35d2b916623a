"""An answer from several workers: in order, behind the last character, where the rules allow."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.scheduler.scripted_source import Line, ScriptedSource

from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.errors import KeptHere
from ai_assistant.policy.gate import Gate
from ai_assistant.policy.labels import Destination, destination_of
from ai_assistant.policy.rules_file import RulesFile
from ai_assistant.protocol.chunks import TokenChunk, Usage
from ai_assistant.protocol.errors import (
    AssistantError,
    EngineDied,
    FirstTokenTimeout,
    InvalidRequest,
    ProviderFailed,
    StreamBroken,
    UnsupportedFeature,
)
from ai_assistant.protocol.requests import ChatMessage, ChatPrompt, GenerateRequest, Partial
from ai_assistant.protocol.spelling import Spelled
from ai_assistant.scheduler.candidates import Candidate
from ai_assistant.scheduler.relay import relay
from ai_assistant.scheduler.turn import Turn

HIDING = '[unlabelled]\nallow = ["*"]\n[labels.email]\nredact = ["*"]\n'


def pieces(*texts: str, tokens: int | None = None) -> list[Line]:
    """An answer, a token a text; its end with `tokens`, or no end."""
    said: list[Line] = [TokenChunk(text=text) for text in texts]
    if tokens is not None:
        usage = Usage(prompt_tokens=10, completion_tokens=tokens)
        said.append(TokenChunk(finish="stop", usage=usage))
    return said


def question(text: str = "Hello", **fields: object) -> GenerateRequest:
    prompt = ChatPrompt(messages=(ChatMessage(role="user", content=text),))
    return GenerateRequest(request_id="r", model="m", prompt=prompt, **fields)  # type: ignore[arg-type]


def turn(source: ScriptedSource) -> Turn:
    where = destination_of(source.offer)
    name = source.offer.provider
    return Turn(
        candidate=Candidate(name=name, source=source, destination=where, remote=source),
        prompt_tokens=10,
    )


class Answered:
    """What a client saw."""

    def __init__(self, request: GenerateRequest, *sources: ScriptedSource, folder: Path,
                 rules: str | None = None) -> None:  # fmt: skip
        if rules is not None:
            (folder / "policy.toml").write_text(rules)
        self.chunks: list[TokenChunk] = []
        self.error: AssistantError | None = None
        asyncio.run(self._ask(request, sources, folder))

    async def _ask(
        self, request: GenerateRequest, sources: tuple[ScriptedSource, ...], folder: Path
    ) -> None:
        log = EgressLog(folder / "egress")
        gate = Gate(RulesFile(folder / "policy.toml"), log)
        candidates = [turn(one) for one in sources]
        try:
            async for chunk in relay(request, candidates, gate):
                self.chunks.append(chunk)
        except AssistantError as error:
            self.error = error
        finally:
            log.close()

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def usage(self) -> Usage:
        found = self.chunks[-1].usage
        assert found
        return found


def test_the_first_answers_alone(tmp_path: Path) -> None:
    first, second = ScriptedSource("one", pieces("a", "b", tokens=2)), ScriptedSource("two")
    told = Answered(question(), first, second, folder=tmp_path)
    assert told.text == "ab"
    assert told.usage.completion_tokens == 2
    assert not told.usage.estimated
    assert second.asked == []
    assert first.closed == 1


def test_the_next_one_answers_when_nothing_had_come(tmp_path: Path) -> None:
    first = ScriptedSource("one", [FirstTokenTimeout("late")])
    second = ScriptedSource("two", pieces("a", tokens=1))
    told = Answered(question(), first, second, folder=tmp_path)
    assert told.text == "a"
    assert second.asked[0].partial is None


def test_an_answer_goes_on_behind_its_last_character(tmp_path: Path) -> None:
    first = ScriptedSource("one", [*pieces("Once ", "upon "), StreamBroken("gone")])
    second = ScriptedSource("two", pieces("a ", "time.", tokens=2))
    told = Answered(question(), first, second, folder=tmp_path)
    assert told.text == "Once upon a time."
    assert second.asked[0].partial is not None
    assert second.asked[0].partial.text == "Once upon "
    assert second.asked[0].partial.generated == 2
    assert told.usage.completion_tokens == 4
    assert told.usage.estimated


@given(st.lists(st.integers(0, 5), max_size=5))
def test_whatever_breaks_no_word_is_lost_or_doubled(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    words = [f"w{n} " for n in range(8)]
    sources: list[ScriptedSource] = []
    at = 0
    for number, cut in enumerate(cuts):
        part = words[at : at + cut]
        at += len(part)
        sources.append(ScriptedSource(f"p{number}", [*pieces(*part), ProviderFailed("down")]))
    sources.append(ScriptedSource("last", pieces(*words[at:], tokens=len(words) - at)))
    told = Answered(question(), *sources, folder=tmp_path_factory.mktemp("relay"))
    assert told.error is None
    assert told.text == "".join(words)
    assert told.usage.completion_tokens == len(words)


def test_who_cannot_go_on_is_passed_over(tmp_path: Path) -> None:
    first = ScriptedSource("one", [*pieces("a"), StreamBroken("gone")])
    cannot = ScriptedSource("two", continues=False)
    third = ScriptedSource("three", pieces("b", tokens=1))
    assert Answered(question(), first, cannot, third, folder=tmp_path).text == "ab"


def test_where_nobody_can_go_on_the_break_is_told(tmp_path: Path) -> None:
    first = ScriptedSource("one", [*pieces("a"), StreamBroken("gone")])
    told = Answered(question(), first, ScriptedSource("two", continues=False), folder=tmp_path)
    assert told.text == "a"
    assert isinstance(told.error, StreamBroken)
    assert told.error.reached.tokens == 1


@pytest.mark.parametrize("fields", [{"n": 2}, {"logprobs": 3}])
def test_several_answers_are_not_continued(tmp_path: Path, fields: dict[str, int]) -> None:
    first = ScriptedSource("one", [*pieces("a"), StreamBroken("gone")])
    second = ScriptedSource("two")
    told = Answered(question(**fields), first, second, folder=tmp_path)
    assert isinstance(told.error, StreamBroken)
    assert second.asked == []


def test_what_is_the_requests_fault_goes_nowhere_else(tmp_path: Path) -> None:
    first = ScriptedSource("one", [InvalidRequest("bad")])
    second = ScriptedSource("two")
    told = Answered(question(), first, second, folder=tmp_path)
    assert isinstance(told.error, InvalidRequest)
    assert second.asked == []


def test_an_answer_that_is_long_enough_ends_where_it_broke(tmp_path: Path) -> None:
    first = ScriptedSource("one", [*pieces("a", "b"), EngineDied("gone")])
    second = ScriptedSource("two")
    told = Answered(question(max_tokens=2), first, second, folder=tmp_path)
    assert told.text == "ab"
    assert told.chunks[-1].finish == "length"
    assert second.asked == []


def test_without_rules_nothing_leaves(tmp_path: Path) -> None:
    cloud = ScriptedSource("cloud", pieces("a", tokens=1), place="cloud")
    told = Answered(question(), cloud, folder=tmp_path)
    assert isinstance(told.error, KeptHere)
    assert "no rule file" in told.error.message
    assert cloud.asked == []


def test_broken_rules_let_nothing_leave(tmp_path: Path) -> None:
    cloud = ScriptedSource("cloud", pieces("a", tokens=1), place="cloud")
    told = Answered(question(), cloud, folder=tmp_path, rules="[unlabelled\n")
    assert isinstance(told.error, KeptHere)
    assert cloud.asked == []


def test_a_failure_is_told_and_not_that_the_rules_forbid_the_rest(tmp_path: Path) -> None:
    here = ScriptedSource("here", [EngineDied("gone")])
    cloud = ScriptedSource("cloud", place="cloud")
    assert isinstance(Answered(question(), here, cloud, folder=tmp_path).error, EngineDied)


def test_hidden_words_come_back_and_are_hidden_again_from_the_next(tmp_path: Path) -> None:
    first = ScriptedSource(
        "one", [*pieces("Write to [EMA", "IL_1] "), StreamBroken("gone")], place="cloud"
    )
    second = ScriptedSource("two", pieces("[EMAIL_1] now.", tokens=3), place="cloud")
    told = Answered(
        question("Who is ann@example.org?"), first, second, folder=tmp_path, rules=HIDING
    )
    assert told.text == "Write to ann@example.org ann@example.org now."
    for source in (first, second):
        assert "ann@example.org" not in str(source.asked[0])
    assert second.asked[0].partial is not None
    assert second.asked[0].partial.text == "Write to [EMAIL_1] "


def test_whose_it_is_goes_to_our_own_engine_and_nowhere_else(tmp_path: Path) -> None:
    first = ScriptedSource("one", [FirstTokenTimeout("late")])
    here = ScriptedSource("here", pieces("a", tokens=1))

    async def ask() -> None:
        log = EgressLog(tmp_path / "egress")
        gate = Gate(RulesFile(tmp_path / "policy.toml"), log)
        place = Destination(name="m", reach="process")
        own = Turn(candidate=Candidate(name="m", source=here, destination=place))
        async for _ in relay(question(tenant="ann"), [turn(first), own], gate):
            pass
        log.close()

    asyncio.run(ask())
    assert first.asked[0].tenant == ""
    assert here.asked[0].tenant == "ann"


def test_nobody_who_can_is_said_so(tmp_path: Path) -> None:
    class Unable(ScriptedSource):
        def refusal(self, request: GenerateRequest) -> str | None:
            return "It takes no tools."

    told = Answered(question(), Unable("one"), folder=tmp_path)
    assert isinstance(told.error, UnsupportedFeature)
    assert told.error.message == "It takes no tools."


# Leaving.


def node_of_ours(name: str, *scripts: list[Line]) -> ScriptedSource:
    """Another ai-assistant."""
    made = ScriptedSource(name, *scripts)
    made._offer = structs.replace(made.offer, kind="ai-assistant")
    return made


FILE = "ab" * 16


def spelled(text: str, start: int) -> TokenChunk:
    """A token as text."""
    told = Spelled(
        text=text, cuts=(len(text),), start=start, model=FILE if not start else "",
        seed=5 if not start else None,
    )  # fmt: skip
    return TokenChunk(text=text, spelled=told)


MEANWHILE = 0.3
"""Seconds in which another node reads."""


def test_who_leaves_is_followed_behind_the_very_token(tmp_path: Path) -> None:
    last = pieces(tokens=4)
    first = ScriptedSource(
        "one",
        [spelled("Once ", 0), spelled("upon ", 1), TokenChunk(leaving=""), MEANWHILE,
         spelled("a ", 2), spelled("NEVER", 3)],
    )  # fmt: skip
    second = node_of_ours("two", pieces("b", tokens=1), [spelled("time.", 3), *last])
    told = Answered(question(), first, second, folder=tmp_path)
    assert told.error is None
    assert told.text == "Once upon a time."
    assert first.asked[0].spell, "somebody else could go on with it"
    reading, going_on = second.asked
    assert reading.max_tokens == 3, "it reads two tokens while the first is still heard"
    assert not going_on.spell, "nobody could go on with this one"
    partial = going_on.partial
    assert partial is not None
    assert partial.generated == 3
    assert partial.spelled == Spelled(text="Once upon a ", cuts=(5, 5, 2), model=FILE, seed=5)
    assert all(chunk.spelled is None and chunk.leaving is None for chunk in told.chunks)
    served = told.chunks[-1].served
    assert served is not None
    assert (served.worker, served.before) == ("two", ("one",))
    assert (first.closed, second.closed) == (1, 2)


@pytest.mark.parametrize(
    "other",
    [
        ScriptedSource("cloud", pieces("a", tokens=1)),
        node_of_ours("broken", [ProviderFailed("no")]),
        node_of_ours("leaving", [TokenChunk(leaving="")], [TokenChunk(leaving="")]),
        node_of_ours("silent", [], []),
        node_of_ours("reader", pieces("x", tokens=1), [ProviderFailed("no")]),
    ],
    ids=lambda one: one.offer.provider,
)
def test_what_nobody_takes_over_goes_on_where_it_is(other: ScriptedSource, tmp_path: Path) -> None:
    first = ScriptedSource(
        "one",
        [spelled("a", 0), TokenChunk(leaving=""), MEANWHILE, spelled("b", 1), *pieces(tokens=2)],
    )
    told = Answered(question(), first, other, folder=tmp_path)
    assert told.error is None
    assert told.text == "ab"
    assert told.usage.completion_tokens == 2


def test_who_does_not_know_its_tokens_is_followed_behind_its_text(tmp_path: Path) -> None:
    first = ScriptedSource(
        "one", [*pieces("Once "), TokenChunk(leaving=""), MEANWHILE, *pieces("upon ", "NEVER")]
    )
    second = node_of_ours("two", pieces("x", tokens=1), pieces("a time.", tokens=1))
    told = Answered(question(max_tokens=9), first, second, folder=tmp_path)
    assert told.text == "Once upon a time."
    assert second.asked[1].partial == Partial(text="Once upon ", generated=2)
    assert told.usage.completion_tokens == 3
    assert told.usage.estimated


def test_only_the_node_that_is_named_takes_over(tmp_path: Path) -> None:
    first = ScriptedSource(
        "one", [spelled("a", 0), TokenChunk(leaving="three"), MEANWHILE, spelled("b", 1), MEANWHILE]
    )
    second = node_of_ours("two", pieces("NO", tokens=1))
    third = node_of_ours("three", pieces("x", tokens=1), pieces("c", tokens=1))
    told = Answered(question(), first, second, third, folder=tmp_path)
    assert told.text == "abc"
    assert second.asked == []


def test_an_engine_of_this_node_follows_one_of_another(tmp_path: Path) -> None:
    first = ScriptedSource(
        "one",
        [spelled("a", 0), TokenChunk(leaving="", ticket="t"), MEANWHILE, spelled("b", 1),
         spelled("NEVER", 2)],
    )  # fmt: skip
    own = ScriptedSource("m", pieces("x", tokens=1), pieces("c", tokens=1))
    place = Destination(name="m", reach="process")
    here = Turn(candidate=Candidate(name="m", source=own, destination=place))

    async def ask() -> str:
        log = EgressLog(tmp_path / "egress")
        gate = Gate(RulesFile(tmp_path / "policy.toml"), log)
        text = "".join([one.text async for one in relay(question(), [turn(first), here], gate)])
        log.close()
        return text

    assert asyncio.run(ask()) == "abc"
    assert len(own.asked) == 2


def test_a_ticket_is_not_passed_on_by_who_only_passes_on(tmp_path: Path) -> None:
    leaving = TokenChunk(leaving="", ticket="secret")
    first = ScriptedSource("one", [spelled("a", 0), leaving, *pieces(tokens=1)])
    told = Answered(question(spell=True), first, folder=tmp_path)
    assert [chunk.leaving for chunk in told.chunks] == [None, "", None]
    assert not any(chunk.ticket for chunk in told.chunks)


def test_an_answer_that_ends_meanwhile_is_whole(tmp_path: Path) -> None:
    first = ScriptedSource("one", [spelled("a", 0), TokenChunk(leaving=""), *pieces(tokens=1)])
    second = node_of_ours("two", [5.0, *pieces("x", tokens=1)])
    told = Answered(question(), first, second, folder=tmp_path)
    assert told.text == "a"
    assert told.chunks[-1].usage


def test_a_node_that_asks_is_told_and_looks_for_itself(tmp_path: Path) -> None:
    first = ScriptedSource("one", [spelled("a", 0), TokenChunk(leaving=""), *pieces(tokens=1)])
    second = node_of_ours("two", pieces("NO", tokens=1))
    told = Answered(question(spell=True), first, second, folder=tmp_path)
    assert [chunk.leaving for chunk in told.chunks] == [None, "", None]
    assert told.chunks[0].spelled is not None
    assert second.asked == []


def test_placeholders_are_never_told_as_tokens(tmp_path: Path) -> None:
    first = ScriptedSource("one", [spelled("a", 0), StreamBroken("gone")], place="cloud")
    second = ScriptedSource("two", pieces("b", tokens=1), place="cloud")
    told = Answered(question("Write to a@example.org"), first, second, folder=tmp_path,
                    rules=HIDING)  # fmt: skip
    assert told.text == "ab"
    assert second.asked[0].partial is not None
    assert second.asked[0].partial.spelled is None


def test_tokens_whose_text_is_protected_do_not_pass_the_gate(tmp_path: Path) -> None:
    mail = "jane.roe@example.org"
    first = ScriptedSource(
        "one", [spelled(f"It is {mail} ", 0), StreamBroken("gone")], place="cloud"
    )
    second = ScriptedSource("two", pieces("indeed", tokens=1), place="cloud")
    Answered(question(), first, second, folder=tmp_path, rules=HIDING)
    (asked,) = second.asked
    assert asked.partial is not None
    assert asked.partial.spelled is None
    assert mail not in str(asked)
