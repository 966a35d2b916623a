"""A real model under a real memory limit: it answers the same, at the disk's pace, without swap."""

import statistics

import pytest
from benchmarks.beyond import BAR, TIMES, run
from benchmarks.cgroup import NotPermitted, limited
from benchmarks.cold import direct, drop
from benchmarks.models import ensure

MB = 1 << 20


@pytest.mark.slow
def test_a_model_of_half_as_much_again_as_the_limit_keeps_the_disks_pace() -> None:
    path = ensure("1b")
    size = path.stat().st_size
    limit = int(size / TIMES)
    try:
        with limited(limit):
            pass
    except NotPermitted as reason:
        pytest.skip(f"no memory limit can be set here: {reason}")
    drop(path)
    disk = direct(path)
    whole, _ = run("libllama", path, 4 * size, 8, 1)
    part, group = run("ours", path, limit, 8, 1, resident=220 * MB)
    assert part["tokens"] == whole["tokens"]
    assert part["streamed"] > 0
    assert (group["swapped"], group["killed"]) == (0, 0)
    assert group["peak"] <= limit
    assert 1 / statistics.median(part["seconds"]) >= BAR * disk / part["touched"]
