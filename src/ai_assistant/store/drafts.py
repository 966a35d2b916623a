"""Finds a draft model: a much smaller model among those here that has the same tokens.

What fits is read from the files. `drafts.json` knows families that come in several sizes with one
tokenizer: members of one agree more often, and where none is here it can be said which to get.
"""

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from ai_assistant.protocol.errors import ModelLoadFailed
from ai_assistant.protocol.layout import ModelAnatomy
from ai_assistant.protocol.status import ModelInfo
from ai_assistant.store.anatomy import anatomy_of
from ai_assistant.store.gguf_header import GgufHeader, read_header
from ai_assistant.store.tokenizer import Tokenizer, tokenizer_of

SMALLER = 4
"""So many times fewer bytes for a token a draft model reads at least."""
_STATES = (".ssm.", ".shortconv.", ".wkv.", ".rwkv.", ".token_shift_count")
"""In the names of facts about recurrent layers."""
_RECURRENT = ("mamba", "rwkv", "arwkv")


class Family(msgspec.Struct, frozen=True):
    """Models of several sizes with one tokenizer."""

    family: str
    named: str
    """A pattern of its members' names."""
    draft: str
    """Its smallest member."""


class Speaker(msgspec.Struct, frozen=True):
    """What counts of a model where it drafts or is drafted for."""

    tokenizer: Tokenizer
    anatomy: ModelAnatomy
    takes_back: bool
    """Tokens can be taken back: there is no window and no state."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The fitting draft model, or why there is none."""

    draft: ModelInfo | None = None
    kin: bool = False
    """Of the same family."""
    reason: str = ""


Read = Callable[[ModelInfo], Speaker]


def find_draft(target: ModelInfo, here: Sequence[ModelInfo], read: Read, name: str = "") -> Found:
    """Of the fitting ones the smallest of the target's family, else the smallest. `name`: only
    this one will do. `read` is asked for as few as can be."""
    others = [one for one in here if one.id != target.id and one.path != target.path]
    if name:
        others = [one for one in others if name in (one.id, one.name, one.path)]
        if not others:
            known = ", ".join(one.id for one in here if one.id != target.id)
            return Found(
                reason=f"there is no other model {name!r} here, only {known or 'this one'}"
            )
    small = [one for one in others if not one.embedding and one.size_bytes < target.size_bytes]
    if not small or target.embedding:
        return Found(reason=_none_here(target))
    speaker = read(target)
    if not speaker.takes_back:
        return Found(reason=f"{target.id} cannot take tokens back")
    reasons: list[str] = []
    for one in sorted(small, key=lambda one: (not are_kin(one, target), one.size_bytes)):
        problem = _misfit(speaker, one, read)
        if problem is None:
            return Found(draft=one, kin=are_kin(one, target))
        reasons.append(problem)
    return Found(reason="; ".join(reasons) if name else _none_here(target))


def are_kin(one: ModelInfo, other: ModelInfo) -> bool:
    """Whether both are of one known family."""
    family = family_of(one)
    return family is not None and family == family_of(other)


def family_of(model: ModelInfo) -> Family | None:
    """The known family that a model is of, by its names."""
    names = f"{model.name} {model.id}".lower()
    return next((one for one in _families() if re.search(one.named, names)), None)


def read_speaker(model: ModelInfo) -> Speaker:
    """From the model's file: 0.1 to 0.5 seconds, once. Raises `ModelLoadFailed`."""
    path = Path(model.path)
    try:
        told = path.stat()
        return _read(path, told.st_size, told.st_mtime_ns)
    except OSError as error:
        raise ModelLoadFailed(f"{path} cannot be read: {error.strerror}.") from None


def _misfit(target: Speaker, model: ModelInfo, read: Read) -> str | None:
    """Why it cannot draft for that one."""
    speaker = read(model)
    if not speaker.tokenizer.same(target.tokenizer):
        return f"{model.id} has other tokens"
    if not speaker.takes_back:
        return f"{model.id} cannot take tokens back"
    if speaker.anatomy.token_bytes * SMALLER > target.anatomy.token_bytes:
        return f"{model.id} is not {SMALLER} times smaller"
    return None


def _none_here(target: ModelInfo) -> str:
    family = family_of(target)
    if family is None or any(
        _plain(family.draft) in _plain(one) for one in (target.name, target.id)
    ):
        return "no model here has the same tokens and is much smaller"
    return f"no model here has the same tokens and is much smaller; {family.draft} would fit"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.lower())


@functools.lru_cache(maxsize=32)
def _read(path: Path, _size: int, _changed: int) -> Speaker:
    header = read_header(path)
    return Speaker(tokenizer_of(path, header), anatomy_of(header), _takes_back(header))


def _takes_back(header: GgufHeader) -> bool:
    architecture = str(header.facts.get("general.architecture", ""))
    if architecture.startswith(_RECURRENT) or header.of_architecture("attention.sliding_window", 0):
        return False
    return not any(mark in key for key in header.facts for mark in _STATES)


@functools.cache
def _families() -> tuple[Family, ...]:
    data = Path(__file__).with_name("drafts.json").read_bytes()
    return msgspec.json.decode(data, type=tuple[Family, ...])
