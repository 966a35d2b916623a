"""Every module that can reach the network is on this list, with the reason why that is right.

A new one fails here until somebody has thought about what it sends. What carries people's words
must ask the gate, with the very bytes, before each send.
"""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src/ai_assistant"
NETWORK = frozenset(
    {
        "aiohttp",
        "anthropic",
        "boto3",
        "ftplib",
        "grpc",
        "h11",
        "h2",
        "http.client",
        "httpcore",
        "httpx",
        "httpx2",
        "litellm",
        "niquests",
        "ollama",
        "openai",
        "paramiko",
        "pycurl",
        "ray",
        "requests",
        "smtplib",
        "socket",
        "ssl",
        "telnetlib",
        "urllib.request",
        "urllib3",
        "websockets",
        "xmlrpc",
        "zmq",
        "minio",
        "huggingface_hub",
    }
)
NOT_OUT = {
    "cli/client.py": "the command talks to its own node, which asks the gate",
    "cli/doctor.py": "whether a port of this machine is free",
    "cli/serve.py": "whether a port of this machine is free",
    "gateway/server.py": "listens; it calls nobody",
    "jobs/network.py": "asks the system for a route; a connected UDP socket sends no packet",
    "jobs/queue.py": "asks for this machine's name",
    "workers/providers/fleet.py": "prepares TLS for transports, which the door alone opens",
}
CARRIES_TEXT = "workers/remote/"
"""Behind `Upstream`, which asks the gate before every send."""
DOOR = "workers/remote/upstream.py"

TRANSPORTS = ("workers/remote/http1.py", "workers/remote/http2.py")
"""Behind the door; one may hand a call on to the other."""


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def reaches_network(path: Path) -> bool:
    return any(
        name == library or name.startswith(f"{library}.")
        for name in imports(path)
        for library in NETWORK
    )


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == name
    ]


def test_every_module_that_reaches_the_network_is_known() -> None:
    reaching = {
        str(path.relative_to(SOURCE).as_posix())
        for path in SOURCE.rglob("*.py")
        if reaches_network(path)
    }
    unknown = {
        name for name in reaching if name not in NOT_OUT and not name.startswith(CARRIES_TEXT)
    }
    assert unknown == set(), "say in NOT_OUT what it sends and why the gate need not be asked"
    assert set(NOT_OUT) <= reaching, "remove what is no longer so"


def openings(tree: ast.AST) -> list[ast.Call]:
    """Calls of `Transport.open`: no other `open` has this argument."""
    return [
        call
        for call in calls(tree, "open")
        if any(keyword.arg == "connect_seconds" for keyword in call.keywords)
    ]


def test_only_the_door_opens_transports() -> None:
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        if name not in (DOOR, *TRANSPORTS):
            assert not openings(ast.parse(path.read_text(encoding="utf-8"))), name


def test_the_door_asks_the_gate_before_it_sends() -> None:
    door = ast.parse((SOURCE / DOOR).read_text(encoding="utf-8"))
    functions = [one for one in ast.walk(door) if isinstance(one, ast.AsyncFunctionDef)]
    senders = [one for one in functions if openings(one)]
    assert senders
    for sender in senders:
        first = min(call.lineno for call in openings(sender))
        assert any(call.lineno < first for call in calls(sender, "let_out")), sender.name


def test_only_the_gate_makes_what_may_leave() -> None:
    """`Outbound` is the type of what may go to a worker elsewhere; no other module builds one."""
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        built = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "Outbound"
        ]
        assert not built or path == SOURCE / "policy/gate.py", path
