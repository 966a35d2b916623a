"""Recorded machines for tests."""

from pathlib import Path

from ai_assistant.devices.probe import probe
from ai_assistant.devices.profile import Profile
from ai_assistant.devices.recording import Recording

FOLDER = Path(__file__).with_name("recordings")
NAMES = sorted(path.stem for path in FOLDER.glob("*.txt"))
FOLDERS = ("/home/me/models", "/home/me/.local/share/ai-assistant")


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def recorded(name: str) -> Recording:
    return Recording(text_of(name))


def profile_of(name: str) -> Profile:
    return probe(recorded(name), FOLDERS, now="2026-11-22T00:00:00+00:00")
