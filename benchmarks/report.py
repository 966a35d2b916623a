"""What a benchmark found: a table for people, a JSON file in `benchmarks/results/` for machines."""

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Record:
    """One measured value; with a peer's, their ratio; with a bar, whether it holds."""

    name: str
    value: float
    unit: str
    peer: float | None = None
    ratio: float | None = None
    bar: str | None = None
    """The demand in words, such as "≥ 0.97 of the peer's"."""
    holds: bool | None = None


def publish(benchmark: str, records: Sequence[Record], *, notes: Iterable[str] = ()) -> None:
    """Print the records and write `benchmarks/results/BENCHMARK.json`."""
    notes = list(notes)
    _print(benchmark, records, notes)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{benchmark}.json"
    path.write_text(
        json.dumps(_document(benchmark, records, notes), indent=1, ensure_ascii=False) + "\n"
    )


def _document(benchmark: str, records: Sequence[Record], notes: list[str]) -> dict[str, Any]:
    return {
        "benchmark": benchmark,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "commit": commit(),
        "kernels": f"llama-cpp-python {version('llama-cpp-python')}",
        "records": [asdict(record) for record in records],
        "notes": notes,
    }


def machine() -> dict[str, Any]:
    """The machine, in the words that a reader needs to judge a figure."""
    return {
        "cpu": cpu_model(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "threads": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "os": platform.platform(),
        "python": platform.python_version(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def cpu_model() -> str:
    """The processor's name, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.lower().startswith("model name"):
                return line.split(":", 1)[1].strip()
    if platform.system() == "Darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    return platform.processor() or platform.machine()


def commit() -> str:
    """The commit's name, with `+dirty` where tracked source differs from it."""
    name = _output("git", "rev-parse", "--short=12", "HEAD") or "unknown"
    changed = _output(
        "git", "status", "--porcelain", "--untracked-files=no", "--", "src", "benchmarks/*.py"
    )
    return name + ("+dirty" if changed else "")


def _output(*command: str) -> str:
    try:
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _print(benchmark: str, records: Sequence[Record], notes: list[str]) -> None:
    table = Table("", "value", "unit", "peer", "ratio", "bar", "", title=benchmark)
    for record in records:
        verdict = {None: "", True: "[green]holds[/]", False: "[red]fails[/]"}[record.holds]
        cells = (_figure(record.value), record.unit, _figure(record.peer), _figure(record.ratio))
        table.add_row(record.name, *cells, record.bar or "", verdict)
    console = Console()
    console.width = max(console.width, 120)
    console.print(table)
    for note in notes:
        console.print(f"  {note}", markup=False, highlight=False)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
