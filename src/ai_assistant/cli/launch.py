"""`ai-assistant launch`: a coding agent that uses the node."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click

from ai_assistant.cli.connect import Target, running, target
from ai_assistant.cli.errors import CommandError, WrongUse
from ai_assistant.cli.launch_clients import AGENTS, NO_KEY, Agent, Place, Recipe
from ai_assistant.cli.options import model_option, node_options
from ai_assistant.config.sources import variables
from ai_assistant.protocol.status import ModelStatus


@click.command(
    "launch",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@model_option
@click.option("--print", "only_print", is_flag=True, help="Print what would be set and run.")
@node_options
@click.argument("agent", type=click.Choice(list(AGENTS)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(
    agent: str,
    arguments: tuple[str, ...],
    model: str | None,
    only_print: bool,
    url: str | None,
    config_file: Path | None,
    api_key_file: Path | None,
) -> None:
    """Start a coding agent that uses the node.

    Its address, key and model are given by environment and arguments; no file is changed. What
    follows the agent's name is handed to it. The node must be running.

    \b
    Examples:
      ai-assistant launch claude
      ai-assistant launch codex exec "Explain this folder"
      ai-assistant launch --model qwen3-8b opencode
      ai-assistant launch --print qwen
    """
    aim = target(url, config_file, api_key_file)
    known = AGENTS[agent]
    place = _place(aim, model)
    _warn_of_room(agent, known, place)
    recipe = known.recipe(place)
    line = (known.program, *recipe.arguments, *arguments)
    if only_print:
        click.echo(as_shell(recipe, line))
        return
    _run(known, recipe, line)


def as_shell(recipe: Recipe, line: tuple[str, ...]) -> str:
    """The same as lines for a shell."""
    exports = [f"export {name}={shlex.quote(text)}" for name, text in recipe.variables.items()]
    return "\n".join([*exports, shlex.join(line)])


def _place(aim: Target, model: str | None) -> Place:
    with running(aim) as client:
        models = client.status().models
    found = [one for one in models if (one.model.id == model if model else one.default)]
    if not found:
        names = ", ".join(one.model.id for one in models)
        raise WrongUse(f"The node does not serve {model!r}.", f"It serves {names}.")
    (one, *_) = found
    if one.model.embedding:
        raise WrongUse(f"{one.model.id} writes no text.", "Choose a chat model with --model.")
    return Place(url=aim.url, key=aim.key or NO_KEY, model=one.model.id, context=_context(one))


def _context(status: ModelStatus) -> int:
    return status.engine.context_limit if status.engine else status.model.context_train


def _warn_of_room(agent: str, known: Agent, place: Place) -> None:
    if place.context < known.needs * 3 // 2:
        text = (
            f"{agent} begins with about {known.needs:,} tokens; {place.model} is served with room "
            f"for {place.context:,}. Serve it with a larger --context, or another model."
        )
        click.echo(f"{click.style('Warning:', fg='yellow')} {text}", err=True)


def _run(known: Agent, recipe: Recipe, line: tuple[str, ...]) -> None:
    """Become the program, or where the system cannot do that, run it and leave with its code."""
    program = shutil.which(known.program)
    if program is None:
        raise CommandError(f"{known.program} is not installed.", f"Install it: {known.install}")
    environment = {**variables(), **recipe.variables}
    if os.name == "nt":
        sys.exit(subprocess.run([program, *line[1:]], env=environment, check=False).returncode)
    sys.stdout.flush()
    os.execve(program, line, environment)
