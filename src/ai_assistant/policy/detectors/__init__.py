"""Detectors: cheap expressions find candidates, check digits and libraries decide.

Each is a function from a `View` to findings in the view's positions. None of them may take longer
than in proportion to the text.
"""
