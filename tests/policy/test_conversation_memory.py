"""What sticks to a conversation: labels and placeholders, over turns, restarts and broken files."""

import asyncio
import contextlib
import stat
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy.policy_parts import CLOUD, LAN, OPEN, PROCESS, chat

from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.errors import KeptHere
from ai_assistant.policy.gate import Gate, Outbound
from ai_assistant.policy.labels import UNCHECKED, Destination, Facts, Labels
from ai_assistant.policy.memory import Memory
from ai_assistant.policy.memory_file import MemoryFile
from ai_assistant.policy.rules_file import RulesFile
from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.requests import (
    Bounds,
    ChatMessage,
    ChatPrompt,
    EmbedRequest,
    GenerateRequest,
    Origin,
    TextPrompt,
    TokenizeRequest,
)

CARD = "card 4111 1111 1111 1111"
BOARD = Origin(bounds=Bounds(labels=("board",)))
RULES = OPEN + "[labels.board]\n[labels.secretary]\nkeys = ['sec-*']\n"


class House:
    """A gate whose files stay when it ends."""

    def __init__(self, folder: Path, rules: str = RULES) -> None:
        self.folder = folder
        (folder / "policy.toml").write_text(rules, encoding="utf-8")
        self.begin()

    def begin(self) -> None:
        self.log = EgressLog(self.folder / "egress")
        self.memory = Memory(MemoryFile(self.folder / "labels.jsonl"))
        self.gate = Gate(RulesFile(self.folder / "policy.toml"), self.log, self.memory)

    def again(self) -> None:
        """After a restart."""
        self.log.close()
        self.memory.close()
        self.begin()

    def ask(
        self, request: GenerateRequest, where: Destination = CLOUD
    ) -> Outbound[GenerateRequest]:
        examined = self.gate.examine(request)
        return asyncio.run(self.gate.open(request, examined, where, request_id="r1"))

    def keeps(self, request: GenerateRequest, where: Destination = CLOUD) -> bool:
        try:
            self.ask(request, where)
        except KeptHere:
            return True
        return False


def named(name: str) -> Origin:
    return Origin(conversation=name)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_harmless_turn_of_a_protected_conversation_stays(house: House) -> None:
    assert house.keeps(chat("who pays?", origin=BOARD))
    # The client says nothing of the board any more.
    later = chat("who pays?", "Nobody.", "thanks")
    assert house.keeps(later)
    assert house.keeps(chat("who pays?", "(another wording)", "thanks", "bye", "good"))
    house.again()
    assert house.keeps(later)


def test_what_was_only_asked_alike_is_another_conversation(house: House) -> None:
    assert house.keeps(chat("hello", origin=BOARD))
    assert not house.keeps(chat("hello"))
    assert not house.keeps(chat("hi", "hello", "hello"))


def test_a_tenants_conversation_says_nothing_of_anothers(house: House) -> None:
    assert house.keeps(chat("who pays?", origin=BOARD, tenant="ann"))
    assert house.keeps(chat("who pays?", "Nobody.", "thanks", tenant="ann"))
    assert not house.keeps(chat("who pays?", "Nobody.", "thanks", tenant="bob"))


def test_a_conversation_with_a_name_keeps_its_labels_without_its_history(house: House) -> None:
    assert house.keeps(chat(CARD, origin=named("c1")))
    assert house.keeps(chat("and now?", origin=named("c1")))
    assert not house.keeps(chat("and now?", origin=named("c2")))
    assert not house.keeps(chat("and now?", origin=named("c1"), tenant="bob"))
    house.again()
    assert house.keeps(chat("and now?", origin=named("c1")))


def test_vectors_and_token_counts_of_a_protected_conversation_stay(house: House) -> None:
    assert house.keeps(chat(CARD, origin=named("c1")))
    for request in (
        EmbedRequest(request_id="e", model="m", inputs=(TextPrompt("x"),), origin=named("c1")),
        TokenizeRequest(request_id="t", model="m", prompt=TextPrompt("x"), origin=named("c1")),
    ):
        examined = house.gate.examine(request)
        assert examined.labels.names == {"card"}


def test_labels_of_the_key_stick_too(house: House) -> None:
    assert house.keeps(chat("hello", tenant="sec-1"))
    assert house.gate.must_read(chat("hello", tenant="sec-1"))
    assert not house.gate.must_read(chat("hello", tenant="ann"))
    assert house.gate.must_read(chat("hello", origin=named("c1")))
    assert house.gate.must_read(chat("hello", origin=BOARD))


def test_the_same_name_has_the_same_placeholder_in_every_turn(house: House) -> None:
    first = house.ask(chat("ann@example.org and bob@example.org"))
    assert first.request.prompt == chat("[EMAIL_1] and [EMAIL_2]").prompt
    # The client has cut the beginning of what was asked; its conversation has a name.
    house.ask(chat("ann@example.org bob@example.org", origin=named("c")))
    later = house.ask(chat("again: bob@example.org", origin=named("c")))
    assert later.request.prompt == chat("again: [EMAIL_2]").prompt
    assert later.restorer().restore(TokenChunk(text="[EMAIL_2].")).text == "bob@example.org."
    grown = house.ask(chat("ann@example.org and bob@example.org", "so?", "bob@example.org"))
    assert grown.request.prompt == chat("[EMAIL_1] and [EMAIL_2]", "so?", "[EMAIL_2]").prompt


def test_text_that_could_not_be_read_once_is_read_again_with_its_history(house: House) -> None:
    memory, facts = house.memory, Facts()
    first = chat("long", tenant="")
    memory.keep(memory.conversation(first, facts), Labels(context=frozenset({UNCHECKED, "board"})))
    grown = memory.labels(memory.conversation(chat("long", "x", "y"), facts))
    assert grown == Labels(context=frozenset({"board"}))
    named_once = Facts(conversation="c")
    memory.keep(
        memory.conversation(chat("other"), named_once), Labels(context=frozenset({UNCHECKED}))
    )
    assert memory.labels(memory.conversation(chat("cut"), named_once)).names == {UNCHECKED}


@pytest.mark.parametrize(
    ("old", "new"), [(b'{"salt"', b"\x00nonsense"), (b"salt", b"s\xfflt"), (b"board", b"bo\xffrd")]
)
def test_what_cannot_be_read_any_more_closes_conversations_and_not_new_ones(
    house: House, caplog: pytest.LogCaptureFixture, old: bytes, new: bytes
) -> None:
    house.keeps(chat("who pays?", origin=BOARD))
    house.memory.close()
    file = house.folder / "labels.jsonl"
    damaged = file.read_bytes().replace(old, new)
    file.write_bytes(damaged)
    house.again()
    assert "mended or deleted" in caplog.text
    assert not house.keeps(chat("hello"))
    assert house.keeps(chat("hello", "hi", "how are you?"))
    assert house.keeps(chat("hello", origin=named("c1")))
    assert file.read_bytes() == damaged


@contextlib.contextmanager
def files_of_at_most(size: int) -> Generator[None]:
    """What is written beyond that is cut off, as on a disk that is full."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_line_that_a_full_disk_cut_off_does_not_swallow_the_next(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    file = house.folder / "labels.jsonl"

    def examine(name: str) -> None:
        bounds = Bounds(labels=("board",))
        house.gate.examine(chat("x", origin=Origin(conversation=name, bounds=bounds)))

    with files_of_at_most(file.stat().st_size + 20):
        examine("c1")
    assert "bytes were written" in caplog.text
    examine("c2")
    assert house.keeps(chat("y", origin=named("c1"))), "it holds until the node ends"
    house.again()
    assert house.keeps(chat("y", origin=named("c2")))


def test_the_file_tells_nothing_of_what_was_said_and_is_the_owners(house: House) -> None:
    house.keeps(chat(CARD, origin=named("customer-77"), tenant="ann"))
    file = house.folder / "labels.jsonl"
    written = file.read_bytes()
    assert b"card" in written
    for secret in (b"4111", b"customer-77", b"ann"):
        assert secret not in written
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@given(st.integers(0, 400))
def test_a_line_that_a_crash_tore_costs_at_most_itself(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    house = House(tmp_path_factory.mktemp("torn"))
    for number in range(3):
        house.gate.examine(chat("x", origin=Origin(
            conversation=f"c{number}", bounds=Bounds(labels=("board",)))))  # fmt: skip
    house.memory.close()
    file = house.folder / "labels.jsonl"
    whole = file.read_bytes()
    head = whole.index(b"\n") + 1
    file.write_bytes(whole[: max(head, len(whole) - cut)])
    house.again()
    kept = [house.keeps(chat("y", origin=named(f"c{number}"))) for number in range(3)]
    assert kept == sorted(kept, reverse=True)
    house.log.close()
    house.memory.close()


@pytest.mark.parametrize(
    ("where", "stays"),
    [
        (CLOUD, True),
        (Destination(name="openai", reach="cloud", region="EU"), False),
        (Destination(name="openai", reach="cloud"), True),
        (LAN, False),
        (Destination(name="attic", reach="lan", region="us"), True),
        (PROCESS, False),
    ],
)
def test_a_key_may_be_bound_to_regions(house: House, where: Destination, stays: bool) -> None:
    bound = Origin(bounds=Bounds(regions=("eu",)))
    assert house.keeps(chat("hello", origin=bound), where) == stays


def test_remembering_costs_little_beside_reading(house: House) -> None:
    turns = [f"This is turn {number} of a long talk. " * 20 for number in range(60)]
    house.keeps(chat(turns[0], origin=BOARD))
    request = chat(*turns)
    facts = Facts()
    began = time.perf_counter()
    for _ in range(20):
        house.memory.labels(house.memory.conversation(request, facts))
    spent = (time.perf_counter() - began) / 20
    assert spent * 1e6 / sum(map(len, turns)) < 0.25  # ms for each 1,000 characters


def test_a_system_text_that_changes_is_no_other_conversation(house: House) -> None:
    def talk(system: str, *texts: str, origin: Origin = Origin()) -> GenerateRequest:  # noqa: B008
        prompt = chat(*texts).prompt
        assert isinstance(prompt, ChatPrompt)
        messages = (ChatMessage(role="system", content=system), *prompt.messages)
        return GenerateRequest(
            request_id="r", model="m", prompt=ChatPrompt(messages=messages), origin=origin
        )

    assert house.keeps(talk("It is 9:00.", "who pays?", origin=BOARD))
    assert house.keeps(talk("It is 9:01.", "who pays?", "Nobody.", "thanks"))
