"""`plan` on the real machine with the real starter."""

import json
from pathlib import Path

from tests.cli.conftest import Invoke


def test_plan_is_measured_once_and_kept(invoke: Invoke, home: Path) -> None:
    layouts = json.loads(invoke("plan", "--json").output)
    assert [one["layout"]["gpu_layers"] for one in layouts] == [0] * len(layouts)
    assert all(one["ttft"] > 0 and one["tpot"] > 0 for one in layouts)
    assert layouts[0]["memory"]["ram"] > 40_000_000
    (kept,) = (home / "data/ai-assistant/layouts").iterdir()
    before = kept.stat().st_mtime_ns
    told = invoke("plan", "starter", "--workload", "agent", "--explain").output
    assert kept.stat().st_mtime_ns == before
    assert "all on the processor" in told
    assert "layers on the processor" in told
    refused = invoke("plan", "--context", "1000000000")
    assert refused.exit_code != 0
    assert "are free" in refused.output


def test_unknown_model_names_those_that_are_there(invoke: Invoke) -> None:
    result = invoke("plan", "nothing")
    assert result.exit_code != 0
    assert "Models here: starter" in result.output
