"""`plan` on the real machine with the real starter."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke


def test_plan_is_measured_once_and_kept(
    invoke: Invoke, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AI_ASSISTANT_ENGINE_THREADS", "1")
    found = json.loads(invoke("plan", "--json", "--verify").output)
    layouts = found["predictions"]
    assert [one["layout"]["gpu_layers"] for one in layouts] == [0] * len(layouts)
    assert all(one["ttft"] > 0 and one["tpot"] > 0 for one in layouts)
    assert layouts[0]["memory"]["ram"] > 40_000_000
    assert found["plan"]["chunk"] == 512
    assert found["plan"]["cells"] == layouts[0]["layout"]["cells"]
    assert 0 < len(found["verified"]) <= 2
    assert all(one["token"] > 0 and one["piece"] > 0 for one in found["verified"])
    kept = sorted((home / "data/ai-assistant/layouts").iterdir())
    assert [file.suffixes[-2] for file in kept] == [".f16", ".factors"]
    before = kept[0].stat().st_mtime_ns
    told = invoke("plan", "starter", "--workload", "agent", "--explain").output
    assert kept[0].stat().st_mtime_ns == before
    assert "all on the processor" in told
    assert "layers on the processor" in told
    assert "tokens a conversation" in told
    assert "corrected by" in told.lower()
    refused = invoke("plan", "--context", "1000000000")
    assert refused.exit_code != 0
    assert "are free" in refused.output


def test_unknown_model_names_those_that_are_there(invoke: Invoke) -> None:
    result = invoke("plan", "nothing")
    assert result.exit_code != 0
    assert "Models here: starter" in result.output
