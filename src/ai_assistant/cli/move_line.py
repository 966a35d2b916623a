"""The last move of a loaded model, in a line or two of `ps`."""

from ai_assistant.cli.output import duration
from ai_assistant.protocol.status import ModelStatus


def move_lines(one: ModelStatus, now: float) -> list[str]:
    """When it was laid out anew, by whom and why; `now` in Unix time."""
    lines: list[str] = []
    if moved := one.moved:
        ago = duration(max(now - moved.at, 0.0))
        if moved.error:
            lines.append(f"  {ago} ago it should have been laid out anew ({moved.why}), but: ")
            lines[-1] += moved.error
        else:
            pause = f", answers paused {moved.paused_seconds:.2f} s" if moved.paused_seconds else ""
            lines.append(f"  Laid out anew {ago} ago, {moved.how}{pause}: {moved.why}.")
    if one.held:
        lines.append(
            f"  It stays as it was moved by hand: `ai-assistant move {one.model.id} --release` "
            "lets it follow the machine again."
        )
    if not lines:
        return []
    return [f"Layout of {one.model.id}:", *lines]
