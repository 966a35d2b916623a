"""Our node in front of other servers, the rules about what leaves in force."""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.node import data_folder
from benchmarks.servers import Server, free_port, launched

RULES = """\
[unlabelled]
allow = ["*"]
[labels.email]
redact = ["*"]
[labels.secret]
refuse = true
"""


def provider(
    name: str,
    url: str,
    kind: str = "openai-compatible",
    *,
    names: Sequence[str] = ("far",),
    deadlines: str = "",
    continues: str = "",
    **fields: int,
) -> str:
    """One provider's settings, with one model `starter`; clients ask for it by `names`."""
    own = "".join(f"{key} = {value}\n" for key, value in fields.items())
    waits = f"[{name}.deadlines]\n{deadlines}\n" if deadlines else ""
    goes_on = f'continues = "{continues}"\n' if continues else ""
    return (
        f'[{name}]\nkind = "{kind}"\nbase_url = "{url}"\nplace = "lan"\n{own}{waits}'
        f'[[{name}.models]]\nid = "starter"\nnames = {list(names)}\n{goes_on}'
    )


@contextlib.contextmanager
def start(
    providers: str, *, rules: str = RULES, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[Server, Path]]:
    """A node with a model `far` that these providers serve; its folder, gone afterwards."""
    port = free_port()
    with data_folder() as folder:
        config = folder / "config.toml"
        config.touch()
        (folder / "providers.toml").write_text(providers)
        (folder / "policy.toml").write_text(rules)
        command = [
            *(sys.executable, "-m", "ai_assistant", "serve", "--port", str(port)),
            *("--data-dir", folder / "data"),
        ]
        settings = {"AI_ASSISTANT_CONFIG": str(config), **(environment or {})}
        with launched("elsewhere", command, port=port, environment=settings) as server:
            yield server, folder
