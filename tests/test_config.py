"""Settings: precedence, origins, and words for what is wrong."""

import os
from pathlib import Path

import pytest

from ai_assistant.config import places
from ai_assistant.config.exposure import exposed_without_key
from ai_assistant.config.loading import ConfigError, Loaded, load, shown
from ai_assistant.config.schema import FLAGS
from ai_assistant.config.settings import Settings
from ai_assistant.gateway.keys import read_key
from ai_assistant.protocol.requests import Priority


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text('[server]\nport = 1000\nhost = "127.0.0.2"\n[engine]\nslots = 2\n')
    return path


def problems(**given: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(**given)  # pyright: ignore[reportArgumentType]
    return str(caught.value)


def written(folder: Path, text: str) -> Path:
    path = folder / "written.toml"
    path.write_text(text)
    return path


def test_defaults_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    loaded = load(environ={})
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}


def test_each_source_displaces_the_one_below(file: Path) -> None:
    environ = {"AI_ASSISTANT_SERVER_PORT": "2000", "AI_ASSISTANT_ENGINE_SLOTS": "3"}
    loaded = load({"server.port": 3000}, environ=environ, config_file=file)
    assert loaded.settings.server.port == 3000
    assert loaded.settings.engine.slots == 3
    assert loaded.settings.server.host == "127.0.0.2"
    assert loaded.origins["server.port"] == "flag --port"
    assert loaded.origins["engine.slots"] == "environment AI_ASSISTANT_ENGINE_SLOTS"
    assert loaded.origins["server.host"] == f"file {file}"
    assert loaded.origins["engine.threads"] == "default"


def test_a_flag_that_was_not_given_displaces_nothing(file: Path) -> None:
    loaded = load({"server.port": None, "store.models": ()}, environ={}, config_file=file)
    assert loaded.settings.server.port == 1000
    assert loaded.origins["store.models"] == "default"


def test_the_environment_names_the_file(file: Path) -> None:
    loaded = load(environ={"AI_ASSISTANT_CONFIG": str(file)})
    assert loaded.settings.server.port == 1000


def test_the_flag_for_the_file_goes_before_the_environment(file: Path) -> None:
    loaded = load(environ={"AI_ASSISTANT_CONFIG": "/nowhere"}, config_file=file)
    assert loaded.file == file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nprot = 1\n", ["There is no key server.prot", "Did you mean server.port?"]),
        ("[serve]\nport = 1\n", ["There is no section serve", "Did you mean server?"]),
        ("server = 1\n", ["server must be a section, [server]"]),
        ('[server]\nport = "x"\n', ["server.port must be a whole number, not 'x'"]),
        ("[server]\nport = 70000\n", ["server.port must be between 0 and 65535, not 70000"]),
        ("[engine]\nslots = -1\n", ["engine.slots must be between 0 and 240, not -1"]),
        ("[engine]\nkv_type = 'f8'\n", ["engine.kv_type must be one of auto, f32,", "not 'f8'"]),
        ("[store]\nmodels = 'a.gguf'\n", ["store.models must be a list of texts"]),
        ("[server]\nmax_requests = 0\n", ["server.max_requests must be at least 1, not 0"]),
        ("[server]\nport = true\n", ["server.port must be a whole number, not True"]),
        ("[server\n", ["is not valid TOML"]),
    ],
)
def test_a_wrong_file_is_refused_in_plain_words(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    path = written(tmp_path, text)
    said = problems(environ={}, config_file=path)
    assert all(word in said for word in words), said
    assert str(path) in said


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, "[engine]\nslots = 'many'\nthread = 1\n")
    said = problems(environ={"AI_ASSISTANT_SERVER_PORT": "low"}, config_file=path)
    assert "engine.slots" in said
    assert "engine.thread " in said
    assert "environment AI_ASSISTANT_SERVER_PORT" in said


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    assert "does not exist" in problems(environ={}, config_file=tmp_path / "none.toml")


def test_lists_in_the_environment_are_divided_by_commas() -> None:
    environ = {"AI_ASSISTANT_SERVER_ALLOWED_ORIGINS": "http://a, http://b,"}
    loaded = load(environ=environ)
    assert loaded.settings.server.allowed_origins == ("http://a", "http://b")


def test_a_variable_without_its_section_is_warned_of() -> None:
    (warning,) = load(environ={"AI_ASSISTANT_DATA_DIR": "/x", "AI_ASSISTANT_MY_KEY": "y"}).warnings
    assert "AI_ASSISTANT_DATA_DIR" in warning
    assert "Did you mean AI_ASSISTANT_STORE_DATA_DIR?" in warning


def test_a_misspelt_variable_is_warned_of() -> None:
    loaded = load(environ={"AI_ASSISTANT_SERVER_PROT": "1", "AI_ASSISTANT_OTHER": "x"})
    assert len(loaded.warnings) == 1
    assert "AI_ASSISTANT_SERVER_PORT" in loaded.warnings[0]


def test_paths_start_where_they_were_written(tmp_path: Path) -> None:
    path = written(tmp_path, "[store]\nmodels = ['a.gguf', '/b.gguf', '~/c.gguf']\n")
    models = load(environ={}, config_file=path).settings.store.models
    assert models == (str(tmp_path / "a.gguf"), "/b.gguf", str(Path.home() / "c.gguf"))
    flagged = load({"store.models": ("a.gguf",)}, environ={}, config_file=path)
    assert flagged.settings.store.models == (str(Path.cwd() / "a.gguf"),)


def key_file(folder: Path, text: str = "# team\nfirst\n\nsecond\n", mode: int = 0o600) -> Path:
    path = folder / "keys"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    path = key_file(tmp_path)
    loaded = load({"server.api_key_file": str(path)}, environ={})
    assert loaded.settings.server.api_keys == ("first", "second")
    assert loaded.origins["server.api_keys"] == "flag --api-key-file"
    assert loaded.warnings == ()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_key_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    path = key_file(tmp_path, mode=0o644)
    loaded = load({"server.api_key_file": str(path)}, environ={})
    assert f"chmod 600 {path}" in loaded.warnings[0]


def test_keys_in_a_file_may_have_options(tmp_path: Path) -> None:
    text = "  # team\nfirst name=alice weight=2  # her laptop\nsecond class=batch\n"
    loaded = load({"server.api_key_file": str(key_file(tmp_path, text))}, environ={})
    alice, nameless = map(read_key, loaded.settings.server.api_keys)
    assert (alice.tenant, alice.weight, alice.ceiling) == ("alice", 2, Priority.INTERACTIVE)
    assert (nameless.name, nameless.weight, nameless.ceiling) == ("", 1, Priority.BATCH)


@pytest.mark.parametrize(
    "options", ["colour=red", "class=urgent", "weight=0", "weight=nan", "name=", "name=a name=b"]
)
def test_wrong_options_of_a_key_are_told_without_the_key(tmp_path: Path, options: str) -> None:
    path = key_file(tmp_path, f"good\nsesame {options}\n")
    said = problems(flags={"server.api_key_file": str(path)}, environ={})
    assert f"{path}, line 2: " in said
    assert "sesame" not in said
    said = problems(environ={"AI_ASSISTANT_SERVER_API_KEYS": f"sesame {options}"})
    assert "environment AI_ASSISTANT_SERVER_API_KEYS" in said
    assert "sesame" not in said


@pytest.mark.parametrize("text", ["", "# nothing\n", "two words\n", "schlüssel\n"])
def test_a_key_file_without_proper_keys_is_refused(tmp_path: Path, text: str) -> None:
    path = key_file(tmp_path, text)
    said = problems(flags={"server.api_key_file": str(path)}, environ={})
    assert str(path) in said
    assert "schl" not in said


def test_a_missing_key_file_is_refused(tmp_path: Path) -> None:
    said = problems(environ={"AI_ASSISTANT_SERVER_API_KEY_FILE": str(tmp_path / "none")})
    assert "cannot be read" in said
    assert "environment AI_ASSISTANT_SERVER_API_KEY_FILE" in said


def test_keys_of_a_higher_source_displace_those_below(tmp_path: Path) -> None:
    low = written(tmp_path, f"[server]\napi_key_file = {str(key_file(tmp_path))!r}\n")
    loaded = load(environ={"AI_ASSISTANT_API_KEY": "short"}, config_file=low)
    assert loaded.settings.server.api_keys == ("short",)
    assert loaded.origins["server.api_keys"] == "environment AI_ASSISTANT_API_KEY"


def test_keys_of_one_source_add_up(tmp_path: Path) -> None:
    text = f"[server]\napi_keys = ['zero']\napi_key_file = {str(key_file(tmp_path))!r}\n"
    loaded = load(environ={}, config_file=written(tmp_path, text))
    assert loaded.settings.server.api_keys == ("zero", "first", "second")


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    loaded = load(environ={"AI_ASSISTANT_API_KEY": "secret"})
    assert ("server.api_keys", ("***",), "environment AI_ASSISTANT_API_KEY") in shown(loaded)
    path = written(tmp_path, "[server]\napi_keys = 'sesame'\n")
    assert "sesame" not in problems(environ={}, config_file=path)


@pytest.mark.parametrize(
    ("host", "keys", "exposed"),
    [
        ("127.0.0.1", "", False),
        ("localhost", "", False),
        ("::1", "", False),
        ("0.0.0.0", "", True),
        ("192.168.1.2", "", True),
        ("my-machine", "", True),
        ("0.0.0.0", "key", False),
    ],
)
def test_exposure(host: str, keys: str, exposed: bool) -> None:
    loaded: Loaded = load({"server.host": host}, environ={"AI_ASSISTANT_API_KEY": keys})
    assert exposed_without_key(loaded.settings) is exposed


def test_every_flag_is_a_key() -> None:
    assert set(FLAGS) <= {*load(environ={}).origins, "server.api_key_file"}


def test_the_data_folder_can_be_chosen(tmp_path: Path) -> None:
    loaded = load({"store.data_dir": str(tmp_path)}, environ={})
    assert places.data_dir(loaded.settings) == tmp_path
