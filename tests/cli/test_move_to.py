"""`move --to`: what is said of answers that went to another node, and what cannot be asked."""

import pytest
from click.testing import CliRunner

from ai_assistant.cli.main import command
from ai_assistant.cli.move import told
from ai_assistant.protocol.moves import MoveResult


@pytest.mark.parametrize(
    ("sequences", "gone", "words"),
    [
        (0, 0, "starter was answering nobody."),
        (2, 2, "2 of 2 answers of starter go on at desk."),
        (3, 1, "1 of 3 answers of starter go on at desk. The others go on here; the node's log "
               "says why."),
    ],
)  # fmt: skip
def test_how_many_went_is_told(sequences: int, gone: int, words: str) -> None:
    result = MoveResult(
        model="starter", how="elsewhere", seconds=0.1, sequences=sequences, gone=gone
    )
    assert told(result, "desk") == words


def test_a_plan_and_another_node_are_two_commands() -> None:
    answer = CliRunner().invoke(command, ["move", "starter", "--to", "desk", "--plan", "threads=2"])
    assert answer.exit_code == 2
    assert "--to leaves the plan as it is" in answer.output
