"""NVIDIA's cards, through its own library. Whatever a card does not tell is None."""

import contextlib
from collections.abc import Callable, Generator
from typing import Any

from ai_assistant.devices.source import NvidiaCard


def read_cards() -> tuple[NvidiaCard, ...]:
    """Every card; none where there is no driver."""
    with _library() as nvml:
        if nvml is None:
            return ()
        count = _asked(nvml, nvml.nvmlDeviceGetCount) or 0
        return tuple(_card(nvml, index) for index in range(count))


@contextlib.contextmanager
def _library() -> Generator[Any]:
    """The library, started; None without a driver."""
    try:
        import pynvml as nvml  # pyright: ignore[reportMissingTypeStubs]

        nvml.nvmlInit()
    except (ImportError, OSError):
        yield None
        return
    except nvml.NVMLError:  # pyright: ignore[reportPossiblyUnboundVariable]
        yield None
        return
    try:
        yield nvml
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _asked(nvml: Any, question: Callable[..., Any], *arguments: Any) -> Any:
    """The answer, or None: old cards and old drivers do not know every question."""
    try:
        answer = question(*arguments)
    except (nvml.NVMLError, AttributeError, OSError):
        return None
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer


def _card(nvml: Any, index: int) -> NvidiaCard:
    handle = _asked(nvml, nvml.nvmlDeviceGetHandleByIndex, index)

    def ask(name: str, *more: Any) -> Any:
        return _asked(nvml, getattr(nvml, name, _missing), handle, *more)

    def scaled(name: str, *more: Any) -> float | None:
        """Milliwatts and millijoules."""
        value = ask(name, *more)
        return None if value is None else value / 1000

    memory, bus = ask("nvmlDeviceGetMemoryInfo"), ask("nvmlDeviceGetPciInfo")
    limits = ask("nvmlDeviceGetPowerManagementLimitConstraints") or (None, None)
    raw = bus.busId if bus else ""
    return NvidiaCard(
        index=index,
        name=ask("nvmlDeviceGetName") or "NVIDIA card",
        pci=normal_address(raw.decode() if isinstance(raw, bytes) else raw),
        driver=_asked(nvml, nvml.nvmlSystemGetDriverVersion),
        memory_total=memory.total if memory else None,
        memory_free=memory.free if memory else None,
        link_generation=ask("nvmlDeviceGetMaxPcieLinkGeneration"),
        link_lanes=ask("nvmlDeviceGetMaxPcieLinkWidth"),
        power=scaled("nvmlDeviceGetPowerUsage"),
        power_limit=scaled("nvmlDeviceGetPowerManagementLimit"),
        power_least=limits[0] / 1000 if limits[0] is not None else None,
        power_most=limits[1] / 1000 if limits[1] is not None else None,
        energy=scaled("nvmlDeviceGetTotalEnergyConsumption"),
        temperature=ask("nvmlDeviceGetTemperature", 0),
        temperature_limit=ask("nvmlDeviceGetTemperatureThreshold", 1),
        decodes=ask("nvmlDeviceGetDecoderUtilization") is not None,
    )


def set_power_limit(index: int, watts: float) -> None:
    """Hold a card to so many watts. Raises `OSError` with the driver's reason."""
    with _library() as nvml:
        if nvml is None:
            raise OSError("NVIDIA's driver does not answer")
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            nvml.nvmlDeviceSetPowerManagementLimit(handle, round(1000 * watts))
        except (nvml.NVMLError, AttributeError) as error:
            raise OSError(str(error)) from error


def _missing(*_arguments: Any) -> Any:
    """In the place of a function that this version of the library lacks."""
    raise AttributeError


def normal_address(text: str) -> str:
    """`00000000:01:00.0` as the rest of the system writes it: `0000:01:00.0`."""
    domain, _, rest = text.strip().lower().partition(":")
    return f"{domain[-4:]}:{rest}" if rest else ""
