"""JSON values from text that says no types: a function's schema has them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast

STRING = frozenset(("string",))
_WORDS = {"True": "true", "False": "false", "None": "null"}


def parameter_types(schema: Mapping[str, Any] | None, name: str) -> frozenset[str]:
    """The types that parameter `name` may have; none where the schema does not say."""
    if schema is None:
        return frozenset()
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return frozenset()
    return _types(cast("Mapping[str, Any]", properties).get(name), schema, depth=8)


def escaped(text: str) -> str:
    """`text` as it stands between the quotes of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def json_of(text: str, types: frozenset[str]) -> str:
    """`text` as JSON: as it is where it is a value of one of the types, else as a string."""
    if types != STRING:
        value = text.strip()
        value = _WORDS.get(value, value)
        if _fits(value, types):
            return value
    return json.dumps(text, ensure_ascii=False)


def _fits(text: str, types: frozenset[str]) -> bool:
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    kind = _kind(value)
    if not types:
        return kind != "string"
    return kind in types or (kind == "integer" and "number" in types)


def _refuse(_constant: str) -> NoReturn:
    raise ValueError


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _types(schema: Any, root: Mapping[str, Any], depth: int) -> frozenset[str]:
    if not isinstance(schema, Mapping) or not depth:
        return frozenset()
    schema = cast("Mapping[str, Any]", schema)
    if isinstance(reference := schema.get("$ref"), str):
        return _types(_resolved(reference, root), root, depth - 1)
    declared = schema.get("type")
    if isinstance(declared, str):
        return frozenset((declared,))
    if isinstance(declared, list):
        return frozenset(cast("list[str]", declared))
    if isinstance(values := schema.get("enum"), list):
        return frozenset(map(_kind, cast("list[object]", values)))
    if "const" in schema:
        return frozenset((_kind(schema["const"]),))
    for keyword in ("anyOf", "oneOf"):
        if isinstance(branches := schema.get(keyword), list):
            found = [_types(branch, root, depth - 1) for branch in cast("Sequence[Any]", branches)]
            return frozenset[str]().union(*found) if all(found) else frozenset()
    return frozenset()


def _resolved(reference: str, root: Mapping[str, Any]) -> Any:
    place: Any = root
    for part in reference.removeprefix("#/").split("/"):
        if not isinstance(place, Mapping):
            return None
        place = cast("Mapping[str, Any]", place).get(part)
    return place
