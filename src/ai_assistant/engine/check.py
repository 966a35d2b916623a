"""What the kernels say of themselves, as JSON: `python -m ai_assistant.engine.check`.

A process of its own: kernels that cannot be loaded or that crash then take nobody with them.
"""

import sys
from typing import Any

import msgspec


def check() -> dict[str, Any]:
    """Version, instruction sets and devices, or the error."""
    try:
        from ai_assistant.engine.kernels import libllama
        from ai_assistant.engine.kernels.devices import devices
    except (ImportError, OSError, RuntimeError) as error:
        return {"version": None, "system_info": "", "devices": [], "error": str(error)}
    return {
        "version": libllama.version(),
        "system_info": libllama.system_info(),
        "devices": [msgspec.to_builtins(device) for device in devices()],
        "error": None,
    }


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(check()).decode() + "\n")
