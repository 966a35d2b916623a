"""One line of the egress log: what it says, how it is chained and signed.

A line is the record's JSON with its signature as the last field. The signature is over the JSON
without that field; the chain is over whole lines, so that not even a signature can be exchanged.
"""

import base64
import hashlib
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ai_assistant.protocol.egress import Outcome

VERSION = 1
START = "0" * 64
"""What the first line of all follows."""
_MARK = b',"sig":"'
_SIGNATURE_CHARACTERS = 88

Kind = Literal["segment", "sent", "ended", "refused", "torn", "gap"]
"""`sent`: about to leave. `ended`: how that went. `torn`: a write that a crash cut short lies
before it. `gap`: records that should lie before it are not there."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the log knows. There is no content in it, and nothing that content can be told from."""

    seq: int = 0
    prev: str = START
    """SHA-256 of the line before, hexadecimal."""
    time: str = ""
    """UTC, ISO 8601."""
    kind: Kind
    id: str = ""
    """Of the departure; its `sent` and its `ended` have the same."""
    request: str = ""
    destination: str = ""
    """The name that the owner gave the provider."""
    place: str = ""
    """`machine`, `lan` or `cloud`."""
    region: str = ""
    host: str = ""
    path: str = ""
    model: str = ""
    bytes: int = 0
    digest: str = ""
    """Keyed BLAKE2b of the bytes: only who has the key can tell whether a text was sent."""
    labels: tuple[str, ...] = ()
    decision: str = ""
    """`allow`, `redact` or `refuse`."""
    hidden: dict[str, int] = {}
    """Placeholders put in, by label."""
    reason: str = ""
    rules: str = ""
    """Digest of the rule file that held."""
    outcome: Outcome | None = None
    status: int = 0
    """Of HTTP."""
    received: int = 0
    """Bytes of the answer."""
    error: str = ""
    """Its code."""
    public_key: str = ""
    open: tuple[str, ...] = ()
    """Departures of earlier segments whose end is not known yet."""
    version: int = 0
    missing: int = 0
    """Records that a `gap` stands for."""


class BadLine(ValueError):
    """A line that this program did not write so."""


def signed_line(record: Record, key: Ed25519PrivateKey) -> bytes:
    """The line without its end."""
    body = msgspec.json.encode(record)
    return body[:-1] + _MARK + base64.b64encode(key.sign(body)) + b'"}'


def read_line(line: bytes) -> tuple[Record, bytes, bytes]:
    """The record, what was signed, the signature; raises `BadLine`. Checks no signature."""
    place = len(line) - _SIGNATURE_CHARACTERS - len(_MARK) - 2
    if place < 0 or line[place : place + len(_MARK)] != _MARK or not line.endswith(b'"}'):
        raise BadLine("it is no record")
    body = line[:place] + b"}"
    try:
        signature = base64.b64decode(line[place + len(_MARK) : -2], validate=True)
        return msgspec.json.decode(body, type=Record), body, signature
    except (ValueError, msgspec.DecodeError) as error:
        raise BadLine("it is no record") from error


def is_signed(body: bytes, signature: bytes, key: Ed25519PublicKey) -> bool:
    """Whether the key's owner signed it."""
    try:
        key.verify(signature, body)
    except InvalidSignature:
        return False
    return True


def hash_of(line: bytes) -> str:
    """What the next line must name."""
    return hashlib.sha256(line).hexdigest()
