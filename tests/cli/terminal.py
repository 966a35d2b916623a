"""A program on a pseudo-terminal, as a person would use it."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence

# The terminal must be the controlling one, so that Ctrl-C becomes a signal.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """Starts `arguments` with a terminal of its own; `close` must be called."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (30, 100))
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environ, "TERM": "xterm"},
            start_new_session=True,
        )
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def expect(self, text: str, seconds: float = 15) -> str:
        """Wait for `text` on the screen after what was expected before."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            if time.monotonic() > deadline:
                raise AssertionError(f"{text!r} did not come; the screen had {self.seen!r}")
            self._read(0.1)
        before, _, self.seen = self.seen.partition(text)
        return before

    def leave(self, seconds: float = 15) -> int:
        """Wait for the program's end; gives its exit code."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(0.05)
        return self.process.wait(1)

    def close(self) -> None:
        """End the program if it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._master)

    def _read(self, seconds: float) -> None:
        if select.select([self._master], [], [], seconds)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the other side has closed
                time.sleep(seconds)
                return
            self.seen += data.decode("utf-8", "replace")
            if "\x1b[6n" in self.seen:  # where is the cursor?
                self.seen = self.seen.replace("\x1b[6n", "")
                self.type("\x1b[25;1R")
