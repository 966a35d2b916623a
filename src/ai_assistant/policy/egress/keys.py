"""The key that signs the log and the one that digests are made with, in one private file."""

import hashlib
import secrets
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ai_assistant.protocol.files import write_whole

NAME = "egress.key"


class BadKey(ValueError):
    """The key file is damaged."""


class _Stored(msgspec.Struct, frozen=True):
    signing: str
    digest: str


class Keys:
    """Signs and digests."""

    def __init__(self, signing: bytes, digest: bytes) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(signing)
        self.public = public_text(self.private.public_key())
        self._digest = digest

    def digest(self, data: bytes) -> str:
        """A name for `data` that nobody can make without this key."""
        return hashlib.blake2b(data, key=self._digest, digest_size=32).hexdigest()


def public_text(key: Ed25519PublicKey) -> str:
    """The raw public key, hexadecimal."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def public_key(text: str) -> Ed25519PublicKey:
    """The key that `public_text` wrote; raises `BadKey`."""
    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text.strip()))
    except ValueError as error:
        raise BadKey("a public key is 64 hexadecimal digits") from error


def read_keys(folder: Path) -> Keys | None:
    """The keys of a folder, None if there are none yet; raises `BadKey` and `OSError`."""
    try:
        data = (folder / NAME).read_bytes()
    except FileNotFoundError:
        return None
    try:
        stored = msgspec.json.decode(data, type=_Stored)
        return Keys(bytes.fromhex(stored.signing), bytes.fromhex(stored.digest))
    except (ValueError, msgspec.DecodeError) as error:
        raise BadKey(f"{folder / NAME} is damaged") from error


def make_keys(folder: Path) -> Keys:
    """New keys, written whole."""
    signing, digest = secrets.token_bytes(32), secrets.token_bytes(32)
    write_whole(folder / NAME, msgspec.json.encode(_Stored(signing.hex(), digest.hex())))
    return Keys(signing, digest)
