"""`doctor`: facts in, verdicts out; then the command on this machine."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke, Served

from ai_assistant.cli import doctor
from ai_assistant.cli import doctor_checks as checks
from ai_assistant.cli.doctor_checks import KernelReport
from ai_assistant.devices.facts import CpuFacts, DiskFacts, DiskKind, GpuFacts, MemoryFacts

GB = 10**9


def kernels(name: str, description: str, kind: str) -> KernelReport:
    device = {"name": name, "description": description, "kind": kind}
    return KernelReport(version="1", devices=[device])


CUDA = kernels("CUDA0", "T4", "gpu")
CPU_ONLY = kernels("CPU", "EPYC", "cpu")


def cpu(features: str = "avx2", *, usable: int = 4, quota: float | None = None) -> CpuFacts:
    return CpuFacts(
        name="A",
        machine="x86_64",
        features=frozenset(features.split()),
        physical=4,
        logical=8,
        usable=usable,
        quota=quota,
    )


@pytest.mark.parametrize(
    ("version", "verdict"), [((3, 10, 1), "fail"), ((3, 11, 0), "ok"), ((3, 14, 2), "ok")]
)
def test_python(version: tuple[int, ...], verdict: str) -> None:
    assert checks.check_python(version).verdict == verdict


@pytest.mark.parametrize(
    ("present", "work", "verdict"),
    [
        (["cc", "c++"], False, "ok"),
        ([], True, "ok"),
        ([], False, "warn"),
        (["cc", "cmake"], False, "warn"),
    ],
)
def test_a_compiler_is_needed_only_without_kernels(
    present: list[str], work: bool, verdict: str
) -> None:
    assert checks.check_compiler(present, kernels_work=work).verdict == verdict


@pytest.mark.parametrize(
    ("report", "verdict"),
    [(None, "fail"), (KernelReport(error="libllama.so is missing"), "fail"), (CPU_ONLY, "ok")],
)
def test_kernels_that_work_and_do_not(report: KernelReport | None, verdict: str) -> None:
    assert checks.check_kernels(report).verdict == verdict


@pytest.mark.parametrize(
    ("features", "verdict", "word"),
    [
        ("avx2 avx512f avx512_vnni", "ok", "AVX-512, VNNI"),
        ("asimd asimddp", "ok", "NEON"),
        ("sse2 avx", "warn", "no wide arithmetic"),
        ("", "ok", "cannot be read"),
    ],
)
def test_processors(features: str, verdict: str, word: str) -> None:
    check = checks.check_features(cpu(features))
    assert check.verdict == verdict
    assert word in check.found


@pytest.mark.parametrize(
    ("usable", "quota", "verdict"),
    [(4, None, "ok"), (4, 1.5, "warn"), (1, None, "warn"), (4, 2.0, "ok"), (2, 8.0, "ok")],
)
def test_cores(usable: int, quota: float | None, verdict: str) -> None:
    assert checks.check_cores(cpu(usable=usable, quota=quota)).verdict == verdict


@pytest.mark.parametrize(
    ("available", "verdict"), [(8 * GB, "ok"), (GB, "warn"), (GB // 10, "fail")]
)
def test_memory(available: int, verdict: str) -> None:
    memory = MemoryFacts(total=16 * GB, available=available)
    assert checks.check_memory(memory).verdict == verdict


@pytest.mark.parametrize(
    ("free", "kind", "verdict"),
    [
        (90 * GB, "nvme", "ok"),
        (90 * GB, "unknown", "ok"),
        (90 * GB, "hdd", "warn"),
        (90 * GB, "network", "warn"),
        (3 * GB, "ssd", "warn"),
        (GB // 10, "ssd", "fail"),
    ],
)
def test_disks(free: int, kind: DiskKind, verdict: str) -> None:
    assert checks.check_disk(DiskFacts(path="/d", free=free, kind=kind)).verdict == verdict


@pytest.mark.parametrize(
    ("report", "gpus", "verdict", "word"),
    [
        (CUDA, GpuFacts(nvidia=("T4, 15360 MiB",)), "ok", "CUDA0 (T4)"),
        (CPU_ONLY, GpuFacts(nvidia=("T4, 15360 MiB",)), "warn", "make run KERNELS=cuda"),
        (CPU_ONLY, GpuFacts(vendors=("AMD",)), "warn", "make run KERNELS=vulkan"),
        (CPU_ONLY, GpuFacts(vendors=("Intel",)), "ok", "Intel graphics"),
        (CPU_ONLY, GpuFacts(metal=True), "warn", "KERNELS=metal"),
        (CPU_ONLY, GpuFacts(vendors=("other",)), "ok", "none"),
        (None, GpuFacts(), "ok", "none"),
    ],
)
def test_gpus(report: KernelReport | None, gpus: GpuFacts, verdict: str, word: str) -> None:
    check = checks.check_gpu(report, gpus)
    assert check.verdict == verdict
    assert word in check.found + check.advice


@pytest.mark.parametrize(
    ("state", "verdict"), [("free", "ok"), ("node", "ok"), ("refused", "warn"), ("taken", "fail")]
)
def test_ports(state: checks.PortState, verdict: str) -> None:
    assert checks.check_port(state, "http://127.0.0.1:7717").verdict == verdict


def test_settings(tmp_path: Path) -> None:
    assert checks.check_settings(tmp_path / "none", (), ()).verdict == "ok"
    assert checks.check_settings(tmp_path, (), ("keys are readable",)).verdict == "warn"
    assert checks.check_settings(tmp_path, ("port is wrong",), ()).verdict == "fail"


def test_every_finding_that_is_not_well_says_what_to_do() -> None:
    found = [
        checks.check_python((3, 9)),
        checks.check_compiler([], kernels_work=False),
        checks.check_kernels(None),
        checks.check_features(cpu("sse")),
        checks.check_cores(cpu(usable=1)),
        checks.check_memory(MemoryFacts(total=1, available=1)),
        checks.check_disk(DiskFacts(path="/", free=0, kind="ssd")),
        checks.check_gpu(None, GpuFacts(metal=True)),
        checks.check_port("taken", "u"),
        checks.check_data(Path("/d"), "read-only"),
    ]
    assert all(one.meaning and one.advice and one.verdict != "ok" for one in found)


def test_who_listens(serve: Callable[..., Served], free_port: int) -> None:
    assert doctor.port_state(f"http://127.0.0.1:{free_port}", ()) == "free"
    assert doctor.port_state(serve().url, ()) == "node"
    locked = serve(api_keys=("right",)).url
    assert doctor.port_state(locked, ("wrong",)) == "refused"
    assert doctor.port_state(locked, ("right",)) == "node"


def test_a_program_that_is_no_node_takes_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.listen()
        accept_and_hang_up(listener)
        port = listener.getsockname()[1]
        assert doctor.port_state(f"http://127.0.0.1:{port}", ()) == "taken"


def accept_and_hang_up(listener: socket.socket) -> None:
    import threading

    def once() -> None:
        connection, _ = listener.accept()
        connection.sendall(b"SSH-2.0-other\r\n")
        connection.close()

    threading.Thread(target=once, daemon=True).start()


def test_a_folder_that_can_be_made_is_well(tmp_path: Path) -> None:
    assert doctor.write_problem(tmp_path) is None
    assert doctor.write_problem(tmp_path / "new/er") is None
    assert not (tmp_path / "new").exists()
    file = tmp_path / "file"
    file.touch()
    assert doctor.write_problem(file / "below") is not None


def test_the_command_on_this_machine(
    invoke: Invoke, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AI_ASSISTANT_SERVER_PORT", str(free_port))
    monkeypatch.setattr(doctor, "kernel_report", lambda: CPU_ONLY)
    result = invoke("doctor", "--json")
    found = {one["name"]: one for one in json.loads(result.stdout)}
    assert len(found) >= 12  # And what the system offers, where it tells.
    assert found["Port"]["verdict"] == "ok"
    plain = invoke("doctor")
    assert all(name in plain.stdout for name in found)
    failed = any(one["verdict"] == "fail" for one in found.values())
    assert result.exit_code == plain.exit_code == int(failed)


def test_the_kernels_answer_in_a_process_of_their_own() -> None:
    report = doctor.kernel_report()
    assert report is not None
    assert report.error or report.version


def test_wrong_settings_do_not_stop_the_doctor(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "kernel_report", lambda: None)
    file = tmp_path / "own.toml"
    file.write_text("[server]\nprot = 1\n")
    result = invoke("doctor", "--config", str(file))
    assert result.exit_code == 1
    assert "Did you mean server.port?" in result.stdout
