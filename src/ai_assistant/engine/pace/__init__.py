"""The engine's sense of time: what a step costs, who else computes, how many threads to use.

Nothing here decodes. `Load` reads the system; the rest is pure: times go in, decisions come out.
"""

from ai_assistant.engine.pace.calibrate import Calibration, calibrate
from ai_assistant.engine.pace.load import Load, LoadSample
from ai_assistant.engine.pace.step_times import Curve, StepTimes
from ai_assistant.engine.pace.threads import ThreadController

__all__ = [
    "Calibration",
    "Curve",
    "Load",
    "LoadSample",
    "StepTimes",
    "ThreadController",
    "calibrate",
]
