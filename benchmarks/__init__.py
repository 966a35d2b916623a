"""Measurements that can be repeated: `python -m benchmarks.NAME`. Results go to `results/`."""
