"""Builds every room for this machine and connects them; starts and stops processes."""
