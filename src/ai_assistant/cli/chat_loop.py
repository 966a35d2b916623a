"""The chat: read a line, obey it or have it answered."""

from collections.abc import Callable, Mapping
from contextlib import closing

from ai_assistant.cli.answer import Answer
from ai_assistant.cli.chat_screen import Screen
from ai_assistant.cli.chat_talk import Talk
from ai_assistant.cli.client import Client
from ai_assistant.cli.errors import CommandError
from ai_assistant.protocol.status import ModelStatus

STARTER = "starter"
STARTER_NOTE = (
    "The bundled starter model is Ember: 38 M parameters. It knows little and invents facts.\n"
    "For real work serve a larger one: ai-assistant serve --model FILE.gguf"
)
BLOCK = '"""'


class Chat:
    """One conversation with one node."""

    def __init__(self, client: Client, talk: Talk, screen: Screen) -> None:
        self.client = client
        self.talk = talk
        self.screen = screen
        self.stats = False
        self.left = False
        self.failed = False

    def run(self, read: Callable[[], str], commands: Mapping[str, "Handler"]) -> None:
        """Until `/exit` or the end of the input. `read` gives one whole entry."""
        while not self.left:
            try:
                entry = read().strip()
                if entry:
                    self._take(entry, commands)
            except EOFError:
                return
            except KeyboardInterrupt:  # also while a command runs: the talk must not be lost
                if not self.screen.terminal:
                    raise
                self.screen.remark("Ctrl-D leaves.")

    def _take(self, entry: str, commands: Mapping[str, "Handler"]) -> None:
        try:
            if entry.startswith("/"):
                obey(self, entry, commands)
            else:
                self.talk.say("user", without_fence(entry))
                self.respond()
        except CommandError as error:
            self.failed = True
            self.screen.error(error)

    def respond(self, instead_of: str | None = None) -> None:
        """Have the last turn answered; an empty answer leaves the talk as it was."""
        answer = Answer()
        try:
            self._stream_into(answer)
        except KeyboardInterrupt:
            self.screen.end()
            if not self.screen.terminal:
                raise
            self.screen.remark("(stopped)")
        finally:
            self.screen.end()
            self._keep(answer, instead_of)
        if answer.finish == "length":
            self.screen.remark("(cut at the token limit)")
        if self.stats and answer.text:
            self.screen.remark(answer.summary())

    def _stream_into(self, answer: Answer) -> None:
        with closing(self.client.answer(self.talk.request(), self.screen.waiting)) as pieces:
            for piece in pieces:
                answer.add(piece)
                self.screen.piece(piece)

    def _keep(self, answer: Answer, instead_of: str | None) -> None:
        kept = answer.text or instead_of
        if kept:
            self.talk.say("assistant", kept)
        else:
            self.talk.take_back("user")

    def models(self) -> tuple[ModelStatus, ...]:
        """The node's models that give text."""
        return tuple(one for one in self.client.status().models if not one.model.embedding)

    def model_id(self) -> str | None:
        """The model that answers now."""
        default = [one.model.id for one in self.models() if one.default]
        return self.talk.model or (default[0] if default else None)

    def introduce(self) -> None:
        """Which model this is, and how honest it is."""
        name = self.model_id()
        self.screen.remark(f"{name or 'No model'} · /help lists commands · Ctrl-D leaves")
        if name == STARTER:
            self.screen.remark(STARTER_NOTE)


Handler = Callable[[Chat, str], None]


def obey(chat: Chat, entry: str, commands: Mapping[str, Handler]) -> None:
    """Run `/name rest`; raises `CommandError` for one that is not known."""
    name, _, rest = entry[1:].partition(" ")
    if name not in commands:
        raise CommandError(f"There is no command /{name}.", "/help lists them.")
    commands[name](chat, without_fence(rest.strip()))


def without_fence(entry: str) -> str:
    """The text inside a block of triple quotes."""
    if entry.startswith(BLOCK) and entry.endswith(BLOCK) and len(entry) >= 2 * len(BLOCK):
        return entry[len(BLOCK) : -len(BLOCK)].strip("\n")
    return entry


def block_open(text: str) -> bool:
    """Whether a block of triple quotes still waits for its end."""
    return text.count(BLOCK) % 2 == 1


def line_reader(next_line: Callable[[], str]) -> Callable[[], str]:
    """Entries from plain lines; `next_line` gives an empty text at the end."""

    def read() -> str:
        entry = next_line()
        if not entry:
            raise EOFError
        while block_open(entry):
            more = next_line()
            if not more:
                break
            entry += more
        return entry

    return read
