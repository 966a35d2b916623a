"""What leaves by the real router, relay and gate, whatever is asked and whatever breaks."""

import asyncio
import logging
from pathlib import Path

import pytest
from benchmarks.policy_fuzz import fuzz


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_protected_is_in_any_body(
    tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    found = asyncio.run(fuzz(700, seed, tmp_path))
    assert found.leaked == 0, found.first
    assert found.unrestored == 0
    assert found.sound
    assert found.recorded == found.bodies
    # It must have tried: answers, refusals by rule, and answers that went on elsewhere.
    assert found.bodies > 140
    assert found.told["answered"] > 220
    assert found.told["error kept_by_policy"] > 110
    assert found.told["streams cut in the middle"] > 8
