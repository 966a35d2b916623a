"""The store against a dictionary: any order of operations, and reopening, gives the same."""

import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from ai_assistant.store.conversations import Conversation, Conversations, Message

TENANTS = st.sampled_from(["local", "other"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MESSAGE_IDS = st.sampled_from(["m1", "m2", "m3", "m4"])


class StoreMachine(RuleBasedStateMachine):
    talks = Bundle("talks")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Conversations(Path(self.folder.name))
        self.model: dict[tuple[str, str], tuple[str, dict[str, str]]] = {}

    @rule(target=talks, tenant=TENANTS, title=TEXT)
    def create(self, tenant: str, title: str) -> tuple[str, str]:
        key = (tenant, self.store.create(tenant, title=title).id)
        self.model[key] = (title, {})
        return key

    @rule(key=talks, id=MESSAGE_IDS, text=TEXT, replaces=st.none() | MESSAGE_IDS)
    def save(self, key: tuple[str, str], id: str, text: str, replaces: str | None) -> None:
        self.store.save_message(*key, Message(id=id, role="user", content=text), replaces=replaces)
        messages = self.model[key][1]
        if replaces in messages:
            for later in list(messages)[list(messages).index(replaces) :]:
                del messages[later]
        messages[id] = text

    @rule(key=talks, title=TEXT)
    def rename(self, key: tuple[str, str], title: str) -> None:
        self.store.update(*key, title=title)
        self.model[key] = (title, self.model[key][1])

    @rule(key=consumes(talks))
    def delete(self, key: tuple[str, str]) -> None:
        self.store.delete(*key)
        del self.model[key]

    @rule(key=talks)
    def delete_and_undo(self, key: tuple[str, str]) -> None:
        whole: Conversation = self.store.get(*key)
        self.store.delete(*key)
        self.store.put(key[0], whole)

    @rule()
    def reopen(self) -> None:
        self.store.close()

    @invariant()
    def same_as_the_model(self) -> None:
        for tenant in ("local", "other"):
            listed = {line.id: line.messages for line in self.store.list(tenant)}
            assert listed == {
                id: len(messages) for (owner, id), (_, messages) in self.model.items()
                if owner == tenant
            }  # fmt: skip
        for key, (title, messages) in self.model.items():
            found = self.store.get(*key)
            assert found.title == title
            assert [(m.id, m.content) for m in found.messages] == list(messages.items())

    def teardown(self) -> None:
        self.store.check_integrity()
        self.store.close()
        self.folder.cleanup()


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
