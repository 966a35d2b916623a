"""Keys of one name have one account: what cannot be counted there is refused, and says why."""

import time
from pathlib import Path

import pytest

from ai_assistant.config.loading import ConfigError, load
from ai_assistant.gateway.access.access import Access
from ai_assistant.protocol.errors import AccessDenied, InvalidRequest
from ai_assistant.store.keys import Limits, StoredKey, make_secret
from ai_assistant.store.keys_file import change_keys

SECRETS = ("sesame-0123", "mellon-4567")


def key_file(folder: Path, *options: str) -> Path:
    path = folder / "keys.txt"
    path.write_text(
        "".join(f"{key} {words}\n" for key, words in zip(SECRETS, options, strict=True))
    )
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        ("name=ann dollars-per-day=1", "name=ann dollars-per-day=100", "dollars-per-day"),
        ("name=ann dollars-per-month=1", "name=ann", "dollars-per-month"),
        ("name=ann", "name=ann user=ann@home team=lab", "user, team"),
        (
            "name=ann requests-per-minute=1 concurrency=2",
            "name=ann concurrency=3",
            "requests-per-minute, concurrency",
        ),
    ],
)
def test_keys_of_one_name_that_are_counted_differently_are_refused(
    tmp_path: Path, one: str, other: str, differs: str
) -> None:
    path = key_file(tmp_path, one, other)
    with pytest.raises(ConfigError) as refused:
        load({"server.api_key_file": str(path)}, environ={})
    said = str(refused.value)
    assert "The keys named ann have one account" in said
    assert f"differ in {differs}:" in said
    assert "--api-key-file" in said, "where the keys come from"
    assert not any(secret in said for secret in SECRETS)


@pytest.mark.parametrize(
    "other", ["name=ann dollars-per-day=1 class=batch models=small", "name=bob dollars-per-day=2"]
)
def test_keys_may_share_a_name_or_differ(tmp_path: Path, other: str) -> None:
    path = key_file(tmp_path, "name=ann dollars-per-day=1", other)
    loaded = load({"server.api_key_file": str(path)}, environ={})
    assert len(loaded.settings.server.api_keys) == 2


def test_one_key_with_two_meanings_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="stands there twice") as refused:
        Access(("sesame-0123 name=ann", "sesame-0123 name=bob"))
    assert "sesame" not in refused.value.message
    Access(("sesame-0123 name=ann", "sesame-0123  name=ann  # again"))


def test_a_made_key_does_not_take_the_account_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"

    def make(budget: float) -> bytes:
        text, secret = make_secret()
        key = StoredKey(
            name="ann", secrets=(secret,), created=time.time(),
            limits=Limits(dollars_per_day=budget),
        )  # fmt: skip
        change_keys(path, lambda book: book.with_key(key))
        return text.encode()

    dear = make(100)
    ring = Access(("sesame-0123 name=ann dollars-per-day=1",), keys=path).ring
    line = ring.caller(b"sesame-0123")
    assert line.limits.dollars_per_day == 1
    with pytest.raises(AccessDenied, match=r"differ in dollars-per-day.*rename"):
        ring.caller(dear)
    same = make(1)
    ring = Access(("sesame-0123 name=ann dollars-per-day=1",), keys=path).ring
    assert ring.caller(same).limits == ring.caller(b"sesame-0123").limits
