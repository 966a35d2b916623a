"""`python -m ai_assistant.cli.docs`: the help pages as one document."""

from collections.abc import Iterator

import click

from ai_assistant.cli.main import command

_HEAD = """\
# The command `ai-assistant`

Written by `just docs` from the help pages; change those.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | it failed; standard error says why and what to do next |
| 2 | the flags or settings must change |
| 3 | no node answers |
| 130 | stopped with Ctrl-C |
"""


def pages() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command with its full name, parents first."""
    root = click.Context(
        command, info_name="ai-assistant", terminal_width=100, **command.context_settings
    )
    yield from _below(command, root)


def _below(
    one: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    yield context.command_path, one, context
    if isinstance(one, click.Group):
        for name in one.list_commands(context):
            child = one.get_command(context, name)
            if child is not None:
                below = click.Context(child, parent=context, info_name=name)
                yield from _below(child, below)


def document() -> str:
    """The whole of `docs/cli.md`."""
    parts = [_HEAD]
    for path, one, context in pages():
        parts.append(f"\n## `{path}`\n\n```text\n{one.get_help(context)}\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    click.echo(document(), nl=False)
