"""What the settings file, the environment and the flags say: raw values and who gave them."""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import msgspec

from ai_assistant.config.places import default_file
from ai_assistant.config.schema import FLAGS, KEY_FILE, KEYS, KINDS, ROUTES, SECTIONS


class Given(msgspec.Struct, frozen=True):
    """A raw value, who gave it, and the folder that its relative paths start from."""

    value: object
    origin: str
    folder: Path
    textual: bool = False
    """Numbers and lists arrive as text."""


Layer = dict[str, Given]
OWN = ("AI_ASSISTANT_CONFIG", "AI_ASSISTANT_API_KEY")
"""Variables that are no key's."""


def variables() -> Mapping[str, str]:
    """The environment, for those who are told by the owner which variable holds a key."""
    return os.environ


def which_file(environ: Mapping[str, str], chosen: Path | None) -> tuple[Path, bool]:
    """The file and whether someone asked for exactly this one."""
    if chosen is not None:
        return chosen.expanduser(), True
    if named := environ.get("AI_ASSISTANT_CONFIG"):
        return Path(named).expanduser(), True
    return default_file(), False


def from_file(path: Path, demanded: bool, problems: list[str]) -> Layer:
    """What the settings file says; `demanded`: it must exist."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if demanded:
            problems.append(f"The settings file {path} does not exist.")
        return {}
    except OSError as error:
        problems.append(f"The settings file {path} cannot be read: {error.strerror}.")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"The settings file {path} is not valid TOML: {error}.")
        return {}
    origin = f"file {path}"
    layer: Layer = {}
    for section, content in tree.items():
        if section == "routes":
            layer[ROUTES] = Given(content, origin, path.absolute().parent)
        elif section not in SECTIONS:
            problems.append(_unknown(section, SECTIONS, "section", origin))
        elif not isinstance(content, dict):
            problems.append(f"{section} must be a section, [{section}] ({origin}).")
        else:
            for name, value in cast("dict[str, object]", content).items():
                key = f"{section}.{name}"
                if key in KINDS:
                    layer[key] = Given(value, origin, path.absolute().parent)
                else:
                    problems.append(_unknown(key, KINDS, "key", origin))
    return layer


def from_environment(environ: Mapping[str, str], warnings: list[str]) -> Layer:
    """What variables named after keys say. Names that nearly are some are warned of."""
    names = {f"AI_ASSISTANT_{key.replace('.', '_').upper()}": key for key in KINDS}
    sections = tuple(f"AI_ASSISTANT_{section.upper()}_" for section in SECTIONS)
    bare = {f"AI_ASSISTANT_{key.partition('.')[2].upper()}" for key in KINDS}
    layer: Layer = {}
    for name, text in environ.items():
        if name in names and text:
            layer[names[name]] = Given(text, f"environment {name}", Path.cwd(), textual=True)
        elif name not in names and name not in OWN and (name.startswith(sections) or name in bare):
            warnings.append(_unknown(name, names, "variable", "environment"))
    if text := environ.get("AI_ASSISTANT_API_KEY"):
        others = layer.get(KEYS)
        joined = f"{text},{others.value}" if others else text
        layer[KEYS] = Given(joined, "environment AI_ASSISTANT_API_KEY", Path.cwd(), textual=True)
    return layer


def from_flags(flags: Mapping[str, object]) -> Layer:
    """What the command line says."""
    return {
        key: Given(value, f"flag {FLAGS.get(key, key)}", Path.cwd())
        for key, value in flags.items()
        if value is not None and value != ()
    }


def overlay(given: Layer, layer: Layer) -> None:
    """Put `layer` above; keys and key file are one setting and displace each other."""
    if KEYS in layer or KEY_FILE in layer:
        given.pop(KEYS, None)
        given.pop(KEY_FILE, None)
    given.update(layer)


def _unknown(name: str, known: Mapping[str, object] | tuple[str, ...], what: str, at: str) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    return f"There is no {what} {name} ({at}).{meant}"
