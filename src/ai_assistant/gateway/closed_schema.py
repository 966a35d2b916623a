"""A JSON schema as llama.cpp and Ollama keep it: what it does not name is not there.

OpenAI's clients say so themselves; Ollama's never had to, and a small model that may add fields
adds them without end.
"""

from typing import Any, cast


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as Ollama keeps it: objects have the fields that it names, and no others.

    Where parts of it are to hold together (`allOf`) nothing is added: each has its own fields.
    """
    return schema if _holds(schema, "allOf") else cast("dict[str, Any]", _closed(schema))


def _closed(part: object) -> object:
    if isinstance(part, list):
        return [_closed(one) for one in cast("list[object]", part)]
    if not isinstance(part, dict):
        return part
    fields = cast("dict[str, object]", part)
    inner = {name: _closed_part(name, value) for name, value in fields.items()}
    if isinstance(fields.get("properties"), dict) and "patternProperties" not in fields:
        inner.setdefault("additionalProperties", False)
    return inner


def _closed_part(name: str, value: object) -> object:
    """What stands under a keyword: schemas by name, plain values, or a schema."""
    if name in ("properties", "$defs", "definitions") and isinstance(value, dict):
        return {key: _closed(one) for key, one in cast("dict[str, object]", value).items()}
    return value if name in ("enum", "const", "default", "examples") else _closed(value)


def _holds(part: object, name: str) -> bool:
    if isinstance(part, list):
        return any(_holds(one, name) for one in cast("list[object]", part))
    if not isinstance(part, dict):
        return False
    fields = cast("dict[str, object]", part)
    return name in fields or any(_holds(value, name) for value in fields.values())
