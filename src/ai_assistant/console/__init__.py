"""The web console: static pages that use the same HTTP API as everyone else."""
