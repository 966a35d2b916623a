"""The rule file: read, checked with line numbers, read again, and closed when in doubt."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy.policy_parts import CLOUD

from ai_assistant.policy.decide import decide
from ai_assistant.policy.labels import Labels
from ai_assistant.policy.rules import Rules, Target
from ai_assistant.policy.rules_file import RulesError, RulesFile, read_rules
from ai_assistant.policy.scan import BUILT_IN
from ai_assistant.policy.template import TEMPLATE


def problems(path: Path, text: str) -> tuple[str, ...]:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RulesError) as caught:
        read_rules(path)
    return caught.value.problems


def test_the_template_is_valid_and_lets_nothing_leave(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(TEMPLATE, encoding="utf-8")
    rules = read_rules(path)
    assert set(BUILT_IN) - {"ip_address"} == set(rules.labels)
    assert decide(Labels(), rules, [CLOUD])[0].action == "refuse"


def test_the_examples_in_the_template_are_valid(tmp_path: Path) -> None:
    lines = [line[2:] if line.startswith("# ") and ("=" in line or line.startswith("# [")) else line
             for line in TEMPLATE.splitlines()]  # fmt: skip
    text = "\n".join(line for line in lines if not line.startswith("Places"))
    path = tmp_path / "policy.toml"
    (tmp_path / "customers.txt").write_text("ACME\n\n", encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    rules = read_rules(path)
    assert {"project", "finance", "board", "ip_address"} <= set(rules.labels)
    assert rules.own[0].words == ("Project Falcon", "项目猎鹰", "ACME")


def test_places_mean_what_they_say(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[unlabelled]\nallow = ["lan", "openai@us"]\n[labels.x]\nallow = ["process"]\n')
    rules = read_rules(path)
    assert set(rules.unlabelled.allow) == {
        Target("process"), Target("machine"), Target("lan"), Target("openai", "us")}  # fmt: skip
    assert rules.labels["x"].allow == (Target("process"),)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("version = 1\n[labels.email\n", 2, "not valid TOML"),
        ("version = 2\n", 1, "version must be 1"),
        ("\n\nfoo = 1\n", 3, "no key foo"),
        ("[unlabelled]\n\nredact = ['lan']\n", 3, "no key redact"),
        ("[labels.email]\nallow = ['la n']\n", 2, "is no place"),
        ("[labels.email]\n[labels.card]\nallow = 'lan'\n", 3, "list of texts"),
        ("[labels.email]\nallow = []\n", 2, "allow is empty"),
        ("[labels.email]\n\nrefuse = 'yes'\n", 3, "true or false"),
        ("[labels.email]\nrefuse = true\nallow = ['lan']\n", 2, "refuse goes alone"),
        ("[labels.Email]\n", 1, "cannot be a label"),
        ("[labels.unchecked]\n", 1, "cannot be a label"),
        ("[labels]\nemail = 3\n", 2, "must be a section"),
        ("[labels.x]\nwords = ['a']\npatterns = ['(?=a)']\n", 3, "cannot be used"),
        ("[labels.x]\npatterns = ['a*']\n", 2, "empty text"),
        ("[labels.x]\nwords_file = 'none.txt'\n", 2, "cannot be read"),
        ("labels = 3\n", 1, "must be a section"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = tmp_path / "policy.toml"
    (problem, *_) = problems(path, text)
    assert problem.startswith(f"{path}, line {line}: ")
    assert words in problem


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = "a = 1\n[labels.x]\nallow = ['']\nredact = 5\n"
    assert len(problems(tmp_path / "policy.toml", text)) == 3


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(b"version = 1\n# \xff\n")
    with pytest.raises(RulesError, match="line 2: this is not UTF-8"):
        read_rules(path)


@given(st.text(max_size=200))
def test_any_file_gives_rules_or_a_problem(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-policy.toml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        rules = read_rules(path)
    except RulesError as error:
        rules = Rules(broken=error.problems[0])
    assert "line" in rules.broken or rules.origin == str(path)


def test_changes_are_seen_and_mistakes_close_the_door(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    file = RulesFile(path)
    assert decide(Labels(), file.current(), [CLOUD])[0].action == "refuse"
    path.write_text("[unlabelled]\nallow = ['openai']\n")
    assert decide(Labels(), file.current(), [CLOUD])[0].action == "allow"
    assert file.current() is file.current()
    path.write_text("[unlabelled]\nallow = ['openai'\n")
    (decision,) = decide(Labels(), file.current(), [CLOUD])
    assert decision.action == "refuse"
    assert "line" in decision.reason
    path.write_text("[labels.x]\nwords_file = 'w.txt'\n")
    assert file.current().broken
    (tmp_path / "w.txt").write_text("falcon\n")
    assert file.current().own[0].words == ("falcon",)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_closes_the_door(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[unlabelled]\nallow = ['openai']\n")
    path.chmod(0)
    assert RulesFile(path).current().broken


def test_a_folder_in_its_place_closes_the_door(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.mkdir()
    assert RulesFile(path).current().broken
