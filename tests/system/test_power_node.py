"""The power mode of a real node, by the command that a user types."""

import json

from tests.system.conftest import StartNode
from tests.system.running_node import RunningNode


def answer(node: RunningNode) -> str:
    said = node.openai.chat.completions.create(
        model="starter",
        messages=[{"role": "user", "content": "Say a word."}],
        max_tokens=24,
        temperature=0,
    )
    return said.choices[0].message.content or ""


def test_a_running_node_takes_another_mode(start_node: StartNode):
    node = start_node(AI_ASSISTANT_POWER_MODE="quiet")
    node.wait_ready()
    told = json.loads(node.command("power", "--json").stdout)
    assert told["mode"] == "quiet"
    assert told["restraint"]["slots"] == 4
    quiet = answer(node)
    assert "max: everything may be used" in node.command("power", "max").stdout
    assert answer(node) == quiet
    wrong = node.command("power", "fast")
    assert wrong.returncode == 1
    assert "max, balanced, quiet" in wrong.stderr
    assert json.loads(node.command("power", "--json").stdout)["mode"] == "max"


def test_a_node_told_to_keep_watts_that_nobody_measures_says_so_and_serves(
    start_node: StartNode,
):
    node = start_node(AI_ASSISTANT_POWER_MODE="45 W")
    node.wait_ready()
    told = json.loads(node.command("power", "--json").stdout)
    assert told["mode"] == ("45 W" if told["sensors"] else "max")
    assert bool(told["sensors"]) or "No sensor tells the power" in node.log.read_text()
    assert (told["joules"] is None) == (not told["sensors"])
    assert answer(node)
