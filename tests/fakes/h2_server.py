"""An HTTP/2 server with TLS that answers as it is told and sees how streams end."""

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "certificate.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


class H2Server:
    """Sends `pieces` of `pause` seconds apart; `mode` says what goes wrong."""

    def __init__(self, folder: Path, pieces: list[bytes], *, pause: float = 0.0) -> None:
        self.certificate = certificate(folder)
        self.pieces = pieces
        self.pause = pause
        self.mode = "good"
        self.alpn = ["h2"]
        self.window = 65_535
        self.most = 100
        self.connections = 0
        self.bodies: list[bytes] = []
        self.heads: list[dict[str, str]] = []
        self.resets: list[int] = []
        self.reset = asyncio.Event()
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["H2Server"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        context.set_alpn_protocols(self.alpn)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Serving(self), "127.0.0.1", 0, ssl=context)
        self.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()


class _Serving(asyncio.Protocol):
    def __init__(self, server: H2Server) -> None:
        self._server = server
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self._bodies: dict[int, bytes] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._wire = transport
        self._server.connections += 1
        self._h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: self._server.window,
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self._server.most,
            },
        )
        self._h2.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self._tasks.values():
            task.cancel()

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            match event:
                case h2.events.RequestReceived():
                    self._server.heads.append(dict(event.headers))
                    self._bodies[event.stream_id] = b""
                case h2.events.DataReceived():
                    self._bodies[event.stream_id] += event.data
                    self._h2.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
                case h2.events.StreamEnded():
                    self._server.bodies.append(self._bodies.pop(event.stream_id))
                    task = asyncio.get_running_loop().create_task(self._answer(event.stream_id))
                    self._tasks[event.stream_id] = task
                case h2.events.StreamReset():
                    self._server.resets.append(event.stream_id)
                    self._server.reset.set()
                    self._tasks[event.stream_id].cancel()
                case _:
                    pass
        self._flush()

    async def _answer(self, stream: int) -> None:
        server = self._server
        if server.mode == "leave first":
            server.mode = "good"
            self._h2.close_connection(last_stream_id=0)
            self._flush()
            return
        self._h2.send_headers(stream, [(":status", "200"), ("content-type", "text/event-stream")])
        self._flush()
        for number, piece in enumerate(server.pieces):
            if number == 1 and server.mode == "reset":
                self._h2.reset_stream(stream, 2)
            elif number == 1 and server.mode == "nonsense":
                self._wire.write(b"\0\0\1\0\0\0\0\0\0\0")  # data on no stream
            elif number == 1 and server.mode == "cut":
                self._wire.abort()
            else:
                while self._h2.local_flow_control_window(stream) < len(piece):  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
                self._h2.send_data(stream, piece)
                self._flush()
                await asyncio.sleep(server.pause)
                continue
            self._flush()
            return
        self._h2.end_stream(stream)
        self._flush()

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._wire.write(data)
