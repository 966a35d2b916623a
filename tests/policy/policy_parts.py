"""What several tests of the policy need."""

from pathlib import Path

from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.gate import Gate
from ai_assistant.policy.labels import Destination
from ai_assistant.policy.rules_file import RulesFile
from ai_assistant.policy.scan import Part, Scanner
from ai_assistant.protocol.egress import Departure
from ai_assistant.protocol.requests import ChatMessage, ChatPrompt, GenerateRequest

CLOUD = Destination(name="openai", reach="cloud", region="us")
LAN = Destination(name="attic", reach="lan")
MACHINE = Destination(name="ollama", reach="machine")
PROCESS = Destination(name="starter", reach="process")
OPEN = """
[unlabelled]
allow = ["lan", "openai"]
[labels.email]
redact = ["openai"]
[labels.phone]
redact = ["openai"]
[labels.secret]
redact = ["openai"]
restore = false
[labels.card]
"""


def chat(*texts: str, **more: object) -> GenerateRequest:
    """A conversation of which the user speaks first."""
    roles = ("user", "assistant")
    messages = tuple(
        ChatMessage(role=roles[index % 2], content=text) for index, text in enumerate(texts)
    )
    fields = {"request_id": "r1", "model": "m", "prompt": ChatPrompt(messages=messages), **more}
    return GenerateRequest(**fields)  # pyright: ignore[reportArgumentType]


def departure(body: bytes, where: Destination = CLOUD, request_id: str = "r1") -> Departure:
    """What a worker would hand to the gate."""
    return Departure(
        request_id=request_id,
        tenant="alice",
        provider=where.name,
        model="gpt",
        place=where.reach,  # pyright: ignore[reportArgumentType]
        region=where.region,
        host="api.example",
        path="/v1/chat/completions",
        body=body,
    )


def gate_of(folder: Path, rules: str = OPEN) -> Gate:
    """A real gate with its files in `folder`."""
    path = folder / "policy.toml"
    path.write_text(rules, encoding="utf-8")
    return Gate(RulesFile(path), EgressLog(folder / "egress"))


PATIENT = 60.0
"""Seconds for a scan: that a busy machine gives up is another test's subject."""
_scanner = Scanner(with_addresses=True, seconds=PATIENT)


def found(*texts: str) -> list[tuple[str, str]]:
    """Label and stretch of everything that is found."""
    parts = [Part(text) for text in texts]
    scan = _scanner.scan(parts)
    assert not scan.failure
    return [
        (one.label, text[one.start : one.end])
        for text, own in zip(texts, scan.findings, strict=True)
        for one in own
    ]
