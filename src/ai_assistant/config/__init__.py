"""Settings of this machine: file, environment and flags, read once.

A flag goes before the environment, the environment before the file, the file before the default.
"""
