"""`audit`: what a real log tells, whole and tampered with."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke

from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.egress.record import Record
from ai_assistant.policy.egress.segments import segment

BODY = b'{"messages": []}'


@pytest.fixture
def log(home: Path) -> Path:
    """Three departures, one of them under way, and a refusal, of the node."""
    folder = home / "data/ai-assistant/egress/node"
    writer = EgressLog(folder)
    for number, (to, region) in enumerate([("openai", "us"), ("openai", "us"), ("attic", "")]):
        writer.commit(
            Record(kind="sent", id=f"d{number}", request=f"r{number}", destination=to,
                   region=region, model="m", bytes=len(BODY), labels=("email",),
                   decision="redact", hidden={"email": 2}, digest=writer.digest(BODY))
        )  # fmt: skip
        if number:
            writer.note(Record(kind="ended", id=f"d{number}", outcome="completed", status=200))
    writer.note(Record(kind="refused", request="r9", destination="openai", decision="refuse"))
    writer.close()
    return folder


def test_nothing_to_tell_is_no_error(invoke: Invoke) -> None:
    for name in ("ls", "verify", "report"):
        result = invoke("audit", name)
        assert result.exit_code == 0
        assert "Nothing" in result.output


def test_what_left_is_listed(invoke: Invoke, log: Path) -> None:
    output = invoke("audit", "ls").output
    assert output.count("completed") == 2
    assert "under way" in output
    assert "not sent" in output
    told = json.loads(invoke("audit", "ls", "--to", "attic", "--json").output)
    assert [one["request"] for one in told] == ["r2"]
    assert told[0]["ended"]["status"] == 200
    assert len(json.loads(invoke("audit", "ls", "-n", "1", "--json").output)) == 1
    assert "Nothing of that kind" in invoke("audit", "ls", "--since", "2999-01-01").output


def test_a_body_can_be_looked_for(invoke: Invoke, log: Path, home: Path) -> None:
    body = home / "body.json"
    body.write_bytes(BODY)
    assert len(json.loads(invoke("audit", "ls", "--body", str(body), "--json").output)) == 3
    body.write_bytes(BODY + b" ")
    assert json.loads(invoke("audit", "ls", "--body", str(body), "--json").output) == []


def test_the_report_sums_up(invoke: Invoke, log: Path) -> None:
    told = json.loads(invoke("audit", "report", "--json").output)
    assert told["sound"]
    assert (told["sent"], told["refused"], told["bytes"]) == (3, 1, 3 * len(BODY))
    assert told["destinations"][1] == {
        "destination": "openai", "region": "us", "requests": 2, "bytes": 2 * len(BODY)}  # fmt: skip
    assert told["hidden"] == {"email": 6}
    output = invoke("audit", "report").output
    assert "every line is signed and in its place" in output
    assert "Refused: 1" in output


def test_a_whole_log_is_said_to_be_whole(invoke: Invoke, log: Path) -> None:
    result = invoke("audit", "verify")
    assert result.exit_code == 0
    assert "node: 7 records in 1 files, whole" in result.output
    head = json.loads(invoke("audit", "verify", "--json").output)["node"]["head"]
    assert invoke("audit", "verify", "--expect", head).exit_code == 0
    assert invoke("audit", "verify", "--expect", "nonsense").exit_code == 2
    forged = f"{head.partition(':')[0]}:{'0' * 64}"
    assert invoke("audit", "verify", "--expect", forged).exit_code == 1
    assert invoke("audit", "verify", "--public-key", "00").exit_code == 2


def test_a_tampered_log_is_named_by_line(invoke: Invoke, log: Path) -> None:
    path = segment(log, 1)
    path.write_bytes(path.read_bytes().replace(b'"region":"us"', b'"region":"eu"', 1))
    result = invoke("audit", "verify")
    assert result.exit_code == 1
    assert "egress-00000001.jsonl, line 2: the signature is wrong" in result.output
    assert "not whole" in result.stderr
    assert "NOT WHOLE" in invoke("audit", "report").output
    told = invoke("audit", "verify", "--json")
    assert told.exit_code == 1
    assert not json.loads(told.stdout)["node"]["sound"]


def test_a_log_that_is_gone_is_noticed_by_who_kept_its_head(invoke: Invoke) -> None:
    result = invoke("audit", "verify", "--expect", f"7:{'0' * 64}")
    assert result.exit_code == 1
    assert "gone" in result.stderr
