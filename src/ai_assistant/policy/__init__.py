"""Data sovereignty: what is protected, where it may go, and a record of what went.

Pure decisions and one append-only log. `gate.py` is the only way out of the house.
"""
