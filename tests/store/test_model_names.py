"""By what name a file is served: two never share one, and the bundled model keeps its own."""

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.protocol.status import ModelInfo
from ai_assistant.store.models import (
    STARTER,
    known_models,
    model_ids,
    renamed,
    starter_path,
)


def model(folder: Path, name: str) -> str:
    """A file of the owner's: whole, and without a single tensor."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0).ljust(28, b"\0"))
    return str(path)


def by_id(*paths: str) -> dict[str, ModelInfo]:
    found = known_models(paths)
    assert len({one.id for one in found}) == len(found), "one name, one model"
    return {one.id: one for one in found}


def test_a_file_called_starter_does_not_hide_the_bundled_model(tmp_path: Path) -> None:
    mine = model(tmp_path / "models", "starter.gguf")
    found = by_id(mine)
    assert list(found) == ["models/starter", STARTER], "the owner's is the default"
    assert found[STARTER].path == str(starter_path().resolve())
    assert found["models/starter"].path == mine
    (told,) = renamed((mine,))
    assert told == f"{mine} is served as models/starter: starter alone means the bundled model."


def test_files_of_one_name_in_folders_of_one_name_have_names_of_their_own(tmp_path: Path) -> None:
    paths = [model(tmp_path / top / "q4", "llama.gguf") for top in ("one", "two")]
    assert list(by_id(*paths)) == ["one/q4/llama", "two/q4/llama", STARTER]
    assert len(renamed(tuple(paths))) == 2


def test_a_file_that_is_named_twice_is_there_once(tmp_path: Path) -> None:
    path = model(tmp_path, "llama.gguf")
    again = str(Path(path).parent / "." / ".." / tmp_path.name / "llama.gguf")
    assert list(by_id(path, again)) == ["llama", STARTER]
    assert renamed((path, again)) == []


def test_the_bundled_file_keeps_its_name_and_may_be_the_default(tmp_path: Path) -> None:
    other = model(tmp_path, "llama.gguf")
    assert list(by_id(str(starter_path()), other)) == [STARTER, "llama"]
    assert renamed((str(starter_path()),)) == []


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_a_link_is_known_by_its_own_name(tmp_path: Path) -> None:
    blob = model(tmp_path / "blobs", "4f3a91")
    link = tmp_path / "qwen.gguf"
    link.symlink_to(blob)
    assert list(by_id(str(link))) == ["qwen", STARTER]
    other = tmp_path / "large.gguf"
    other.symlink_to(blob)
    assert list(by_id(str(link), str(other))) == ["qwen", "large", STARTER], "two names, two models"
    other.unlink()
    other.symlink_to(starter_path())
    assert list(by_id(str(other))) == ["large", STARTER]


@pytest.mark.parametrize("word", ["default", "auto"])
def test_words_with_a_meaning_are_no_names(tmp_path: Path, word: str) -> None:
    assert list(by_id(model(tmp_path / "mine", f"{word}.gguf"))) == [f"mine/{word}", STARTER]


_parts = st.sampled_from(["a", "b", "starter", "default", "x"])


@st.composite
def _paths(draw: st.DrawFn) -> Path:
    folders = draw(st.lists(_parts, max_size=4))
    return Path("/", *folders, draw(_parts) + draw(st.sampled_from([".gguf", ".bin", ""])))


@given(st.lists(_paths(), unique=True, max_size=12))
def test_whatever_the_files_are_called_no_two_have_one_name(paths: list[Path]) -> None:
    ids = model_ids(paths)
    assert set(ids) == set(paths)
    assert len(set(ids.values())) == len(paths)
    assert not {STARTER, "default", "auto"} & set(ids.values())
