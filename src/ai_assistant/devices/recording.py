"""A machine in a text file: recorded here, looked at elsewhere, as a bug report or a test.

Lines that begin with `>>> ` say what follows:

    >>> system Linux x86_64
    >>> file /proc/meminfo           text up to the next such line
    >>> file /sys/…/level = 2        or on the same line
    >>> hidden /sys/…/energy_uj      it is there, and may not be read
    >>> link /sys/class/… -> /sys/devices/…
    >>> space /var/lib 500000000000 250000000000
    >>> run lscpu -J                 what the program printed
    >>> cards                        JSON of NVIDIA's cards
    >>> kernels                      JSON of the kernels' report
    >>> stamp 1a2b

What stands before the first of them is for people: which machine, and where the facts come from.
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TypeVar

import msgspec

from ai_assistant.devices.source import NvidiaCard, Source, by_number
from ai_assistant.protocol.kernels import KernelReport

_MARK = ">>> "
_SECRET = re.compile(r"\s*(inet6?|ether|lladdr)\s|Serial\s*:", re.IGNORECASE)
Kind = TypeVar("Kind")


class Recording:
    """A recorded machine. Raises `ValueError` for text that is not a recording."""

    def __init__(self, text: str) -> None:
        self._files: dict[str, str | None] = {}
        self._links: dict[str, str] = {}
        self._spaces: dict[str, tuple[int, int]] = {}
        self._runs: dict[tuple[str, ...], str] = {}
        self._cards: tuple[NvidiaCard, ...] = ()
        self._kernels: KernelReport | None = None
        self._stamp = ""
        self._system = self._machine = ""
        for words, body in _sections(text):
            self._take(words, body)
        if not self._system:
            raise ValueError("a recording begins with `>>> system NAME MACHINE`")
        self._known = _with_folders([*self._files, *self._links])

    def _take(self, words: str, body: str) -> None:
        kind, _, rest = words.partition(" ")
        match kind:
            case "system":
                self._system, _, self._machine = rest.partition(" ")
            case "file":
                path, same_line, short = rest.partition(" = ")
                self._files[path] = short if same_line else body
            case "hidden":
                self._files[rest] = None
            case "link":
                path, _, target = rest.partition(" -> ")
                self._links[path] = target
            case "space":
                path, total, free = rest.rsplit(" ", 2)
                self._spaces[path] = (int(total), int(free))
            case "run":
                self._runs[tuple(rest.split())] = body
            case "cards":
                self._cards = _decoded(body, tuple[NvidiaCard, ...])
            case "kernels":
                self._kernels = _decoded(body, KernelReport)
            case "stamp":
                self._stamp = rest
            case _:
                raise ValueError(f"a recording has no part {kind!r}")

    @property
    def system(self) -> str:
        """Of the recorded machine."""
        return self._system

    @property
    def machine(self) -> str:
        """Of the recorded machine."""
        return self._machine

    def read(self, path: str) -> str | None:
        """Links on the way are followed, as the system would."""
        return self._files.get(path, self._files.get(self._resolved(path)))

    def find(self, pattern: str) -> tuple[str, ...]:
        """Of all that was recorded, folders included."""
        wanted = pattern.split("/")
        found = [path for path in self._known if _matches(path.split("/"), wanted)]
        return tuple(sorted(found, key=by_number))

    def target(self, path: str) -> str | None:
        """What is no link leads to itself."""
        resolved = self._resolved(path)
        return resolved if resolved != path or path in self._known else None

    def space(self, path: str) -> tuple[int, int] | None:
        """Of the deepest recorded folder above."""
        for place in (PurePosixPath(path), *PurePosixPath(path).parents):
            if found := self._spaces.get(str(place)):
                return found
        return None

    def run(self, *command: str) -> str | None:
        """As it was recorded, word for word."""
        return self._runs.get(command)

    def cards(self) -> tuple[NvidiaCard, ...]:
        """As recorded."""
        return self._cards

    def kernels(self) -> KernelReport | None:
        """As recorded."""
        return self._kernels

    def stamp(self) -> str:
        """As recorded."""
        return self._stamp

    def _resolved(self, path: str) -> str:
        for place in (PurePosixPath(path), *PurePosixPath(path).parents):
            if target := self._links.get(str(place)):
                return str(PurePosixPath(target) / PurePosixPath(path).relative_to(place))
        return path


class Recorder:
    """A source that remembers everything that it was asked, and gives the same answer again."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._read: dict[str, str | None] = {}
        self._parts: dict[str, str] = {f"system {source.system} {source.machine}": ""}

    @property
    def system(self) -> str:
        """As the source says."""
        return self._source.system

    @property
    def machine(self) -> str:
        """As the source says."""
        return self._source.machine

    def read(self, path: str) -> str | None:
        """Remembered if it is there."""
        if path in self._read:
            return self._read[path]
        text = self._read[path] = _without_secrets(self._source.read(path))
        if text is not None:
            short = "\n" not in text
            self._keep(f"file {path} = {text}" if short else f"file {path}", "" if short else text)
        return text

    def find(self, pattern: str) -> tuple[str, ...]:
        """Remembered as links, or as files that cannot be read; reading one puts that right."""
        found = self._source.find(pattern)
        for path in found:
            target = self._source.target(path)
            if target is not None and target != path:
                self._keep(f"link {path} -> {target}")
            else:
                self._keep(f"hidden {path}")
        return found

    def target(self, path: str) -> str | None:
        """Remembered if it is there."""
        target = self._source.target(path)
        if target is not None and target != path:
            self._keep(f"link {path} -> {target}")
        return target

    def space(self, path: str) -> tuple[int, int] | None:
        """Remembered if it is there."""
        space = self._source.space(path)
        if space:
            self._keep(f"space {path} {space[0]} {space[1]}")
        return space

    def run(self, *command: str) -> str | None:
        """Remembered if it printed something."""
        text = _without_secrets(self._source.run(*command))
        if text is not None:
            self._keep(f"run {' '.join(command)}", text)
        return text

    def cards(self) -> tuple[NvidiaCard, ...]:
        """Remembered."""
        cards = self._source.cards()
        if cards:
            self._keep("cards", _written(cards))
        return cards

    def kernels(self) -> KernelReport | None:
        """Remembered."""
        report = self._source.kernels()
        if report:
            self._keep("kernels", _written(report))
        return report

    def stamp(self) -> str:
        """Remembered."""
        stamp = self._source.stamp()
        self._keep(f"stamp {stamp}")
        return stamp

    def text(self, heading: str) -> str:
        """The recording."""
        read = {key.split(" ", 2)[1] for key in self._parts if key.startswith("file ")}
        lines = [heading.strip()]
        for key, body in self._parts.items():
            if key.startswith("hidden ") and key.partition(" ")[2] in read:
                continue
            lines.append(f"{_MARK}{key}")
            if body:
                lines.append(body)
        return "\n".join(lines) + "\n"

    def _keep(self, words: str, body: str = "") -> None:
        self._parts[words] = body


def _sections(text: str) -> Iterator[tuple[str, str]]:
    words, body = "", list[str]()
    for line in text.splitlines():
        if line.startswith(_MARK):
            if words:
                yield words, "\n".join(body).strip()
            words, body = line.removeprefix(_MARK), []
        else:
            body.append(line)
    if words:
        yield words, "\n".join(body).strip()


def _without_secrets(text: str | None) -> str | None:
    """Without addresses and serial numbers: what is recorded is sent to others."""
    if text is None:
        return None
    return "\n".join(line for line in text.splitlines() if not _SECRET.match(line))


def _with_folders(paths: list[str]) -> set[str]:
    return {str(one) for path in paths for one in (path, *PurePosixPath(path).parents)}


def _matches(path: list[str], pattern: list[str]) -> bool:
    return len(path) == len(pattern) and all(map(fnmatchcase, path, pattern))


def _written(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()


def _decoded(text: str, kind: type[Kind]) -> Kind:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise ValueError(f"a recording's JSON is damaged: {error}") from error
