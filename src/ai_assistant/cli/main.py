"""The command `ai-assistant`: finds the family that was asked for and imports only that."""

import importlib
import sys
from typing import Any, cast

import click

from ai_assistant.cli.streams import lenient

FAMILIES = {
    "serve": "Serve models on this machine.",
    "chat": "Talk with a model in the terminal.",
    "ask": "Ask one question and print the answer.",
    "launch": "Start a coding agent that uses the node.",
    "models": "List the models of the node.",
    "ps": "Show what the node is doing.",
    "batch": "Have many requests answered when there is time.",
    "cache": "Show and clear the KV cache on disk, and pin prompts.",
    "devices": "Show what this machine has, and measure how fast it is.",
    "move": "Lay a model out anew while it answers, or hand its answers to another node.",
    "plan": "Predict how fast a model would be here.",
    "providers": "Name other servers and clouds that may answer.",
    "route": "Show which model would answer, and why.",
    "keys": "Make API keys, and say what each may use.",
    "policy": "Say what may leave this machine, and check a text.",
    "audit": "Show and prove what left this machine.",
    "power": "Show or change how much power the node uses.",
    "doctor": "Check this machine and say what to mend.",
    "bench": "Measure the speed of a model here.",
    "config": "Show settings and make API keys.",
    "version": "Print the version.",
}


class Families(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The families, in the order of a first day."""
        return list(FAMILIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in FAMILIES:
            return None
        module = importlib.import_module(f"ai_assistant.cli.{cmd_name}")
        return cast("click.Command", module.command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help page, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(FAMILIES.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, or a usage error that names the closest one."""
        if args and args[0] not in FAMILIES and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], FAMILIES, n=1)
            meant = f" Did you mean `ai-assistant {close[0]}`?" if close else ""
            raise click.UsageError(f"There is no command {args[0]!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; every error that it may meet leaves through here."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise  # click prints the first, leaves with the second and is quiet at the third
        except KeyboardInterrupt:
            click.echo(err=True)
            ctx.exit(130)
        except Exception as error:
            raise _translated(error) from error


def _translated(error: Exception) -> Exception:
    from ai_assistant.cli.errors import CommandError, from_assistant, from_config
    from ai_assistant.config.loading import ConfigError
    from ai_assistant.protocol.errors import AssistantError

    if isinstance(error, ConfigError):
        return from_config(error)
    if isinstance(error, AssistantError):
        return from_assistant(error)
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        return CommandError(f"{error.strerror or error}{place}.")
    return error


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from ai_assistant.cli.version import installed_version

        click.echo(f"ai-assistant {installed_version()}")
        ctx.exit()


@click.group(
    cls=Families,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version.",
)
def command() -> None:
    """A private AI assistant on your own machine.

    \b
    Examples:
      ai-assistant serve
      ai-assistant chat
      ai-assistant ask "What is a mutex?"
      ai-assistant doctor
    """


def main() -> None:
    """The entry point."""
    lenient(sys.stdout)
    lenient(sys.stderr)
    command.main(prog_name="ai-assistant")


if __name__ == "__main__":
    main()
