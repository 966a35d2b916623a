"""The map in docs/ARCHITECTURE.md is the house that the build enforces."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAP = (ROOT / "docs/ARCHITECTURE.md").read_text()


def enforced_rooms() -> set[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(c for c in contracts["contracts"] if c["type"] == "layers")["layers"]
    return {room.strip() for layer in layers for room in layer.split("|")}


def test_every_enforced_room_is_on_the_map() -> None:
    built = {room for room in enforced_rooms() if not room.startswith("(")}
    assert set(re.findall(r"^\| `(\w+)` \|", MAP, re.MULTILINE)) == built


def test_planned_rooms_are_named_as_such() -> None:
    planned = MAP.split("planned and not built:")[1].split("\n\n")[0]
    for room in enforced_rooms():
        if room.startswith("("):
            assert f"`{room.strip('()')}`" in planned


def test_every_file_on_the_map_exists() -> None:
    rooms = {room.strip("()") for room in enforced_rooms()}
    named = re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", MAP)
    paths = [name for name in named if name.split("/")[0] in rooms]
    assert len(paths) > 15
    for path in paths:
        assert (ROOT / "src/ai_assistant" / path).exists(), path


def test_every_decision_has_a_number_of_its_own() -> None:
    numbers = [path.name[:4] for path in sorted((ROOT / "docs/decisions").glob("*.md"))]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]
