"""Help pages: complete, true and quick."""

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from tests.cli.conftest import Invoke

from ai_assistant.cli import docs
from ai_assistant.cli.main import FAMILIES

PAGES = {path: (one, context) for path, one, context in docs.pages()}


def examples(path: str) -> list[str]:
    one, _ = PAGES[path]
    text = (one.help or "").partition("Examples:")[2]
    return [line.strip() for line in text.splitlines() if "ai-assistant" in line]


@pytest.mark.parametrize("path", PAGES)
def test_every_command_has_a_page_with_examples(invoke: Invoke, path: str) -> None:
    result = invoke(*path.split()[1:], "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.output
    assert examples(path)


@pytest.mark.parametrize(
    ("path", "example"), [(path, example) for path in PAGES for example in examples(path)]
)
def test_examples_name_commands_and_options_that_exist(path: str, example: str) -> None:
    words = shlex.split(example.rpartition("| ")[2].partition(" < ")[0])
    assert words[0] == "ai-assistant"
    depth = 2 + (words[1] in ("audit", "batch", "cache", "config", "keys", "policy", "providers"))
    one, context = PAGES[" ".join(words[:depth])]
    rest = [word for word in words[depth:] if not Path(word).suffix]
    given = [word for word in rest if word.startswith("--")]
    parameters = one.get_params(context)
    known = {name for one in parameters for name in (*one.opts, *one.secondary_opts)}
    assert set(given) <= known


def test_every_option_says_what_it_does() -> None:
    silent = [
        (path, option.name)
        for path, (one, _) in PAGES.items()
        for option in one.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []


def test_the_list_of_commands_says_what_their_pages_say() -> None:
    for name, meaning in FAMILIES.items():
        one, _ = PAGES[f"ai-assistant {name}"]
        assert one.help is not None
        first = " ".join(one.help.partition("\n\n")[0].split())
        assert meaning.rstrip(".").split(" the node")[0] in first


def test_the_document_is_current() -> None:
    kept = Path(__file__).parents[2] / "docs/cli.md"
    assert kept.read_text(encoding="utf-8") == docs.document(), "run `just docs`"


def test_a_misspelt_command_is_named(invoke: Invoke) -> None:
    result = invoke("modles")
    assert result.exit_code == 2
    assert "Did you mean `ai-assistant models`?" in result.output


def test_no_secret_place_of_this_machine_stands_in_the_document() -> None:
    assert not re.search(r"/(root|home)/", docs.document())


def test_the_first_page_imports_no_family() -> None:
    code = (
        "import sys; from ai_assistant.cli.main import command\n"
        "try: command(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'httpx', 'prompt_toolkit', 'rich', 'msgspec', 'numpy', 'psutil', 'starlette'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("HEAVY []")
    assert time.perf_counter() - begun < 5  # 0.1 s alone on this machine; others may be busy


def test_the_version_is_told(invoke: Invoke) -> None:
    assert invoke("--version").output.startswith("ai-assistant ")
    assert invoke("version").output.startswith("ai-assistant ")
    assert '"kernels"' in invoke("version", "--json").output
