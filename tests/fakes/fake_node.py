"""The node module as the command knows it, without processes."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ai_assistant.config.settings import Settings
from ai_assistant.protocol.status import ModelInfo


@dataclass
class FakeNode:
    """Stands in for the modules of `ai_assistant.node` that commands use."""

    url: str = "http://127.0.0.1:7717"
    exit_code: int = 0
    error: Exception | None = None
    models: tuple[ModelInfo, ...] = ()
    ran: list[Settings] = field(default_factory=list[Settings])
    stopped: int = 0

    def run(
        self, settings: Settings, *, announce: Callable[[str], None], file: Path | None = None
    ) -> int:
        self.ran.append(settings)
        if self.error:
            raise self.error
        announce(self.url)
        return self.exit_code

    @contextmanager
    def temporary(self, settings: Settings) -> Generator[str, None, None]:
        self.ran.append(settings)
        try:
            yield self.url
        finally:
            self.stopped += 1

    def known_models(self, settings: Settings) -> tuple[ModelInfo, ...]:
        return self.models
