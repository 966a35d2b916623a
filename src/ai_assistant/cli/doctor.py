"""`ai-assistant doctor`: reads the machine, judges it, says what to do."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import webbrowser
from pathlib import Path

import click
import msgspec

from ai_assistant.cli import doctor_checks as checks
from ai_assistant.cli.client import Client
from ai_assistant.cli.connect import local_url
from ai_assistant.cli.doctor_checks import Check, KernelReport, PortState, Verdict
from ai_assistant.cli.errors import CommandError, NodeRefused, NodeUnreachable
from ai_assistant.cli.options import config_option, json_option
from ai_assistant.config import loading, places
from ai_assistant.config.loading import ConfigError
from ai_assistant.config.settings import Settings
from ai_assistant.devices import facts, stored
from ai_assistant.devices.judge import judge
from ai_assistant.devices.probe import probe
from ai_assistant.devices.profile import Profile
from ai_assistant.devices.source import ThisMachine
from ai_assistant.gateway.keys import secret_of

_MARKS: dict[Verdict, tuple[str, str]] = {
    "ok": ("ok  ", "green"),
    "warn": ("warn", "yellow"),
    "fail": ("FAIL", "red"),
}


@click.command("doctor")
@click.option("--apply", "applied", is_flag=True, help="Set what is advised of the system.")
@click.option("--restore", "restored", is_flag=True, help="Put back what --apply has set.")
@click.option("--dry-run", "dry", is_flag=True, help="Only show what either of them would do.")
@json_option
@config_option
def command(
    applied: bool, restored: bool, dry: bool, as_json: bool, config_file: Path | None
) -> None:
    """Check this machine and say what to mend.

    Nothing is changed without --apply. That sets what is advised about swap, huge pages and the
    processor's governor, and needs root; where it may not, it prints the command that would do.
    What was set before is kept in the data folder until --restore; a restart of the machine puts
    it back as well. --restore also puts back what a node left that could not do so when it died.

    The exit code is 1 if a check fails, or something could not be set.

    \b
    Examples:
      ai-assistant doctor
      ai-assistant doctor --json
      ai-assistant doctor --apply --dry-run
      ai-assistant doctor --apply
    """
    if applied and restored:
        raise click.UsageError("--apply and --restore do not go together.")
    if dry and not (applied or restored):
        raise click.UsageError("--dry-run goes with --apply or --restore.")
    if applied or restored:
        from ai_assistant.cli import doctor_changes as changes

        data = places.data_dir(_settings(config_file)[0])
        (changes.apply if applied else changes.restore)(data, dry=dry, as_json=as_json)
        return
    findings = examine(config_file)
    if as_json:
        click.echo(json.dumps([msgspec.to_builtins(one) for one in findings]))
    else:
        for finding in findings:
            _print(finding)
        click.echo(f"\n{summary(findings)}")
    if any(one.verdict == "fail" for one in findings):
        raise click.exceptions.Exit(1)


def examine(config_file: Path | None) -> list[Check]:
    """Every check of this machine."""
    settings, settings_check = _settings(config_file)
    server = settings.server
    url = local_url(server.host, server.port)
    data = places.data_dir(settings)
    cpu = facts.read_cpu()
    kernels = kernel_report()
    return [
        checks.check_python(sys.version_info[:3]),
        checks.check_compiler(
            [name for name in ("cc", "c++", "cmake") if shutil.which(name)],
            kernels_work=kernels is not None and not kernels.error,
        ),
        checks.check_kernels(kernels),
        checks.check_features(cpu),
        checks.check_cores(cpu),
        checks.check_memory(facts.read_memory()),
        checks.check_disk(facts.read_disk(data)),
        checks.check_gpu(kernels, facts.read_gpus()),
        checks.check_port(port_state(url, server.api_keys), url),
        settings_check,
        checks.check_data(data, write_problem(data)),
        checks.check_browser(_has_browser(), url),
        *map(checks.check_offer, judge(_machine(data))),
    ]


def _machine(data: Path) -> Profile:
    """As it is now; the kernels were asked already."""
    return probe(ThisMachine(), (str(data),), now=stored.utc_now(), with_kernels=False)


def _settings(config_file: Path | None) -> tuple[Settings, Check]:
    """The settings, or the defaults if they cannot be used."""
    try:
        loaded = loading.load(config_file=config_file)
    except ConfigError as error:
        file = config_file or places.default_file()
        return Settings(), checks.check_settings(file, error.problems, ())
    return loaded.settings, checks.check_settings(loaded.file, (), loaded.warnings)


def kernel_report() -> KernelReport | None:
    """From a process of its own: kernels built for another processor would kill this one."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ai_assistant.engine.check"],
            capture_output=True,
            timeout=60,
            check=False,
        )
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=KernelReport)
    except (OSError, subprocess.TimeoutExpired, IndexError, msgspec.DecodeError):
        return None


def port_state(url: str, keys: tuple[str, ...]) -> PortState:
    """Who listens there."""
    client = Client(url, secret_of(keys[0]) if keys else None)
    try:
        client.status()
    except NodeUnreachable:
        return "taken" if _listens(url) else "free"
    except NodeRefused as refusal:
        return "refused" if refusal.code == "invalid_api_key" else "taken"
    except CommandError:
        return "taken"
    finally:
        client.close()
    return "node"


def _listens(url: str) -> bool:
    host, _, port = url.removeprefix("http://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def write_problem(folder: Path) -> str | None:
    """Why nothing can be written there; None if something can. Makes no folder."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if place != folder.absolute():
        return None if os.access(place, os.W_OK | os.X_OK) else "it cannot be made"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def _has_browser() -> bool:
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def _print(finding: Check) -> None:
    mark, colour = _MARKS[finding.verdict]
    click.echo(f"{click.style(mark, fg=colour)}  {finding.name:<10}  {finding.found}")
    if finding.meaning:
        click.echo(f"{'':18}{finding.meaning}")
    if finding.advice:
        click.echo(f"{'':18}{click.style('Next:', fg='cyan')} {finding.advice}")


def summary(findings: list[Check]) -> str:
    """The last line."""
    failed = sum(one.verdict == "fail" for one in findings)
    warned = sum(one.verdict == "warn" for one in findings)
    if not failed and not warned:
        return "All is well."
    said = [f"{failed} to mend" if failed else "", f"{warned} to know of" if warned else ""]
    return ", ".join(filter(None, said)) + "."
