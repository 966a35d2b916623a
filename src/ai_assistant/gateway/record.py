"""What is noted of one request while it is answered, for the figures afterwards."""

import time

from ai_assistant.protocol.requests import GenerateRequest


class Record:
    """One exchange's stopwatch."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.first_token: float | None = None
        """Seconds until the first piece of the answer."""
        self.request: GenerateRequest | None = None

    def begin(self, request: GenerateRequest) -> None:
        """The first piece is here."""
        self.first_token = time.perf_counter() - self.began
        self.request = request
