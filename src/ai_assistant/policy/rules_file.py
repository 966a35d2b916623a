"""`policy.toml`: read, checked, and read again when it changes. Problems name their line."""

import hashlib
import os
import re
import tomllib
from pathlib import Path
from typing import Any, cast

import msgspec

from ai_assistant.policy.detectors.own import Own
from ai_assistant.policy.expressions import BadPattern
from ai_assistant.policy.labels import FAILED
from ai_assistant.policy.rules import HERE, REACHES, LabelRule, OwnWords, Rules, Source, Target

VERSION = 1
LARGEST = 4 << 20
_NAME = re.compile(r"[a-z][a-z0-9_\-]{0,39}\Z")
_TARGET = re.compile(
    r"(\*|[A-Za-z0-9][A-Za-z0-9._\-]{0,63})(?:@([A-Za-z0-9][A-Za-z0-9\-]{0,31}))?\Z"
)
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_LISTS = ("allow", "redact")
_GIVERS = ("keys", "models", "paths", "clients", "conversations")
_OWN = ("words", "patterns", "words_file")
_SWITCHES = ("refuse", "restore")
_LABEL_KEYS = (*_LISTS, *_SWITCHES, *_GIVERS, *_OWN)


class RulesError(Exception):
    """A rule file that cannot be used; each problem names the file and the line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class RulesFile:
    """The rules that hold now. A file that is broken or cannot be read lets nothing leave."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] | None = None
        self._rules = Rules()

    def current(self) -> Rules:
        """The rules, read again if the file or one of its word lists has changed."""
        seen = self._stamp()
        if seen != self._seen:
            try:
                self._rules = read_rules(self.path)
            except RulesError as error:
                self._rules = Rules(broken=error.problems[0], origin=str(self.path))
            self._seen = seen
        return self._rules

    def _stamp(self) -> tuple[int, ...]:
        try:
            with os.scandir(self.path.parent) as found:
                names = sorted(one.path for one in found if one.name.endswith(".txt"))
            stats = [os.stat(name) for name in (self.path, *names)]
            return tuple(x for s in stats for x in (s.st_mtime_ns, s.st_size, s.st_ino))
        except OSError:
            return ()


def read_rules(path: Path) -> Rules:
    """The rules of a file; without a file those that let nothing leave. Raises `RulesError`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Rules()
    except OSError as error:
        raise RulesError([f"{path} cannot be read: {error.strerror}."]) from error
    if len(data) > LARGEST:
        raise RulesError([f"{path} is larger than {LARGEST >> 20} MB; use words_file for words."])
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise RulesError([f"{path}, line {line}: this is not UTF-8."]) from error
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RulesError([_of_toml(path, text, error)]) from error
    reader = _Reader(path, text)
    rules = reader.rules(tree)
    if reader.problems:
        raise RulesError(reader.problems)
    digest = hashlib.sha256(data).hexdigest()[:16]
    return msgspec.structs.replace(rules, origin=str(path), digest=digest)


def _of_toml(path: Path, text: str, error: Exception) -> str:
    words = str(error)
    found = _AT_LINE.search(words)
    line = int(found[1]) if found else text.count("\n") + 1
    return f"{path}, line {line}: this is not valid TOML: {_AT_LINE.sub('', words).strip()}."


class _Reader:
    """Turns the tree into rules and collects what is wrong."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()
        self.problems: list[str] = []

    def rules(self, tree: dict[str, Any]) -> Rules:
        for key in tree:
            if key not in ("version", "unlabelled", "labels", "phone_regions"):
                self._wrong((), key, f"there is no key {key}")
        if tree.get("version", VERSION) != VERSION:
            self._wrong((), "version", f"version must be {VERSION}")
        labels: dict[str, LabelRule] = {}
        sources: list[Source] = []
        own: list[OwnWords] = []
        for name, section in self._table(tree, (), "labels").items():
            where = ("labels", name)
            if not _NAME.match(name) or name in FAILED:
                self._wrong(where, "", f"{name!r} cannot be a label: use a to z, 0 to 9, _ and -")
            elif not isinstance(section, dict):
                self._wrong(("labels",), name, f"labels.{name} must be a section")
            else:
                table = cast("dict[str, Any]", section)
                labels[name] = self._rule(where, table, _LABEL_KEYS)
                sources += self._source(where, name, table)
                own += self._own(where, name, table)
        return Rules(
            unlabelled=self._rule(("unlabelled",), self._table(tree, (), "unlabelled"), ("allow",)),
            labels=labels,
            sources=tuple(sources),
            own=tuple(own),
            regions=tuple(one.upper() for one in self._texts(tree, (), "phone_regions")),
        )

    def _rule(
        self, where: tuple[str, ...], table: dict[str, Any], known: tuple[str, ...]
    ) -> LabelRule:
        for key in table:
            if key not in known:
                self._wrong(where, key, f"there is no key {key}; known are {', '.join(known)}")
        lists = {key: self._targets(where, table, key) for key in _LISTS if key in table}
        rule = LabelRule(
            **lists,
            refuse=self._switch(where, table, "refuse", default=False),
            restore=self._switch(where, table, "restore", default=True),
        )
        if rule.refuse and lists:
            self._wrong(where, "refuse", "refuse goes alone, without allow and redact")
        return rule

    def _switch(
        self, where: tuple[str, ...], table: dict[str, Any], key: str, *, default: bool
    ) -> bool:
        value: object = table.get(key, default)
        if not isinstance(value, bool):
            self._wrong(where, key, f"{key} must be true or false")
            return default
        return value

    def _targets(
        self, where: tuple[str, ...], table: dict[str, Any], key: str
    ) -> tuple[Target, ...]:
        found: list[Target] = []
        for text in self._texts(table, where, key):
            match = _TARGET.match(text)
            if not match:
                self._wrong(where, key, f"{text!r} is no place; write {', '.join(REACHES)}, a "
                            "provider's name, or one of these with @region")  # fmt: skip
                continue
            found.append(Target(match[1], match[2] or "*"))
        if key == "allow" and not found and not self.problems:
            self._wrong(where, key, "allow is empty; write refuse = true, or leave allow out")
        nearer = HERE if key == "allow" and found != [Target("process")] else ()
        return tuple(dict.fromkeys((*nearer, *found)))

    def _source(self, where: tuple[str, ...], name: str, table: dict[str, Any]) -> list[Source]:
        lists = {key: self._texts(table, where, key) for key in _GIVERS if key in table}
        return [Source(name, **lists)] if lists else []

    def _own(self, where: tuple[str, ...], name: str, table: dict[str, Any]) -> list[OwnWords]:
        words = self._texts(table, where, "words")
        patterns = self._texts(table, where, "patterns")
        if "words_file" in table:
            words += self._listed(where, table["words_file"])
        for pattern in patterns:
            try:
                Own(name, patterns=(pattern,))
            except BadPattern as error:
                self._wrong(
                    where, "patterns", f"the expression {pattern!r} cannot be used: {error}"
                )
        return [OwnWords(name, words, patterns)] if words or patterns else []

    def _listed(self, where: tuple[str, ...], value: object) -> tuple[str, ...]:
        if not isinstance(value, str) or not value:
            self._wrong(where, "words_file", "words_file must be the name of a file")
            return ()
        file = self._path.parent / Path(value).expanduser()
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            self._wrong(where, "words_file", f"{file} cannot be read: {reason}")
            return ()
        return tuple(line.strip() for line in lines if line.strip())

    def _table(self, tree: dict[str, Any], where: tuple[str, ...], key: str) -> dict[str, Any]:
        found = tree.get(key, {})
        if isinstance(found, dict):
            return cast("dict[str, Any]", found)
        self._wrong(where, key, f"{key} must be a section, [{key}]")
        return {}

    def _texts(self, table: dict[str, Any], where: tuple[str, ...], key: str) -> tuple[str, ...]:
        value = table.get(key, [])
        listed = cast("list[object]", value) if isinstance(value, list) else [None]
        if not all(isinstance(one, str) and one.strip() for one in listed):
            self._wrong(where, key, f'{key} must be a list of texts, such as ["a", "b"]')
            return ()
        return tuple(str(one) for one in listed)

    def _wrong(self, where: tuple[str, ...], key: str, words: str) -> None:
        self.problems.append(f"{self._path}, line {self._line(where, key)}: {words}.")

    def _line(self, where: tuple[str, ...], key: str) -> int:
        """Where a key is written: TOML's tree does not keep it, so it is looked for."""
        quoted = [rf"[\"']?{re.escape(part)}[\"']?" for part in (*where, key) if part]
        header = re.compile(r"\s*\[\[?\s*" + r"\s*\.\s*".join(quoted[: len(where)]) + r"\s*\]")
        start = 0
        if where:
            start = next((i for i, line in enumerate(self._lines) if header.match(line)), 0)
        if key:
            entry = re.compile(rf"\s*(?:\[\s*)?(?:[\w\"'\-]+\s*\.\s*)*{quoted[-1]}\s*[=.\]]")
            for index in range(start, len(self._lines)):
                if index > start and where and re.match(r"\s*\[", self._lines[index]):
                    break
                if entry.match(self._lines[index]):
                    return index + 1
        return start + 1
