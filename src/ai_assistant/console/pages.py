"""The console's files, read once and served from memory. They ask nothing of other hosts."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ai_assistant.protocol.errors import NotFound

STATIC = Path(__file__).with_name("static")
# The system's own table of types is not asked: on Windows it may call scripts plain text.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    # Kept by the browser, and asked about each time: an update is never half new.
    "cache-control": "no-cache",
}


class Asset(NamedTuple):
    """A file as it goes out."""

    body: bytes
    media_type: str
    etag: str


def page_routes() -> list[BaseRoute]:
    """`/` and `/console/static/…`."""
    assets = read_assets(STATIC)

    async def index(request: Request) -> Response:
        return _serve(assets["index.html"], request)

    async def static(request: Request) -> Response:
        asset = assets.get(request.path_params["path"])
        if asset is None:
            raise NotFound(f"The console has no file {request.url.path!r}.")
        return _serve(asset, request)

    return [Route("/", index), Route("/console/static/{path:path}", static)]


def read_assets(folder: Path) -> dict[str, Asset]:
    """Every file of a known type, by its path in the folder."""
    return {
        path.relative_to(folder).as_posix(): _asset(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in TYPES
    }


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(body, TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _serve(asset: Asset, request: Request) -> Response:
    headers = {**HEADERS, "etag": asset.etag}
    asked = request.headers.get("if-none-match", "")
    if asset.etag in (tag.strip().removeprefix("W/") for tag in asked.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(asset.body, headers={**headers, "content-type": asset.media_type})
