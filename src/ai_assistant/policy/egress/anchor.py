"""How far the log has come, kept beside it: a log that ends earlier has lost its tail."""

import os
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ai_assistant.policy.egress.record import is_signed

NAME = "egress.anchor"


class Anchor(msgspec.Struct, frozen=True):
    """The last record's number and hash."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


class BadAnchor(ValueError):
    """The anchor is damaged or somebody else's."""


def parse_anchor(text: str) -> Anchor:
    """What `str` wrote; raises `BadAnchor`."""
    seq, _, digest = text.strip().partition(":")
    if not seq.isdecimal() or len(digest) != 64:
        raise BadAnchor("write NUMBER:HASH, as `audit verify` prints it")
    return Anchor(int(seq), digest)


def write_anchor(folder: Path, anchor: Anchor, key: Ed25519PrivateKey) -> None:
    """Put in the place of the old one."""
    signature = key.sign(str(anchor).encode()).hex()
    part = folder / f"{NAME}.part"
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, f"{anchor} {signature}\n".encode())
    finally:
        os.close(handle)
    part.replace(folder / NAME)


def read_anchor(folder: Path, key: Ed25519PublicKey) -> Anchor | None:
    """The anchor, None if there is none; raises `BadAnchor` and `OSError`."""
    try:
        text = (folder / NAME).read_text()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise BadAnchor(f"{folder / NAME} is damaged") from error
    anchor, _, signature = text.strip().partition(" ")
    try:
        found, signed = parse_anchor(anchor), bytes.fromhex(signature)
    except ValueError as error:
        raise BadAnchor(f"{folder / NAME} is damaged") from error
    if not is_signed(str(found).encode(), signed, key):
        raise BadAnchor(f"{folder / NAME} is signed by another key")
    return found
