"""What a request wishes of whoever answers, and what is told of who did: every wire format's.

A body may hold `"routing": {"objective": "latency", "max_ttft": 2}`, a header
`X-Routing: objective=latency, max_ttft=2, region=eu`, an address `?explain` or `?explain=run`. The
body goes before the header. The scope of a line of a job carries what was wished of the job.
"""

from typing import Annotated, Any
from urllib.parse import parse_qsl

import msgspec

from ai_assistant.gateway.decoding import decode
from ai_assistant.gateway.errors import invalid
from ai_assistant.gateway.exchange import Exchange, Header
from ai_assistant.protocol.routing import Explain, Objective, Served, Wishes, together

HEADER = b"x-routing"
CARRIED = "ai_assistant.wishes"
"""In the scope of a line of a batch: what was wished when the batch was given."""
TOLD = b"x-ai-assistant-worker, x-ai-assistant-reason, x-ai-assistant-cost, x-ai-assistant-fallback"
"""The headers of answers, for pages that want to read them."""
_MENTIONED = b'"routing"'
_EXPLAIN: dict[str, Explain] = {"": "only", "only": "only", "run": "run"}
_LONGEST = 400

Limit = Annotated[float, msgspec.Meta(ge=0)]


class _Fields(msgspec.Struct, forbid_unknown_fields=True):
    objective: Objective | None = None
    max_price: Limit | None = None
    max_price_per_million: Limit | None = None
    max_ttft: Limit | None = None
    regions: list[str] | None = None
    region: str | None = None
    explain: bool | str | None = None


class _Body(msgspec.Struct):
    routing: _Fields | None = None


_decoder = msgspec.json.Decoder(_Body)


def wishes_of(exchange: Exchange) -> Wishes | None:
    """All of them together; None: there are none. Raises `InvalidRequest`."""
    found = [
        exchange.scope.get(CARRIED),
        _of_header(exchange.header(HEADER)),
        _of_body(exchange.raw),
        _of_address(exchange.scope.get("query_string", b"")),
    ]
    given = [one for one in found if one is not None]
    if not given:
        return None
    first, *others = given
    for other in others:
        first = together(first, other)
    return first


def told_headers(served: Served | None, *, final: bool) -> list[Header]:
    """Who answers, as headers; before the end of a stream the cost is what is expected."""
    if served is None:
        return []
    cost = "unknown" if served.cost is None else f"{served.cost:.8f}".rstrip("0").rstrip(".")
    fallback = f"yes; {served.why or served.reason}" if served.fallback else "no"
    return [
        (b"x-ai-assistant-worker", _plain(served.worker)),
        (b"x-ai-assistant-reason", _plain(served.reason)),
        (b"x-ai-assistant-cost", _plain(cost if final else f"{cost}; expected")),
        (b"x-ai-assistant-fallback", _plain(fallback)),
    ]


def told_object(served: Served) -> dict[str, Any]:
    """The same for the last piece of an answer and for a whole one."""
    fields: dict[str, Any] = {
        "worker": served.worker,
        "reason": served.reason,
        "cost_usd": served.cost,
        "fallback": served.fallback,
    }
    if served.fallback:
        fields["why"] = served.why
    if served.before:
        fields["before"] = served.before
    if served.decision:
        fields["decision"] = served.decision
    return fields


def _plain(text: str) -> bytes:
    """Text that can stand in a header: model names and errors are anybody's words."""
    clean = "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST])
    return clean.strip().encode("ascii", "replace")


def _of_body(body: bytes) -> Wishes | None:
    if _MENTIONED not in body:
        return None
    fields = decode(_decoder, body).routing
    return None if fields is None else _wishes(fields, "routing.explain")


def _of_header(text: str | None) -> Wishes | None:
    """`objective=cost, max_price=0.01, region=eu`; several regions are repeated."""
    if not text:
        return None
    said: dict[str, Any] = {}
    regions: list[str] = []
    for part in text.split(","):
        name, _, value = (side.strip() for side in part.partition("="))
        name = name.replace("-", "_")
        if name in ("region", "regions"):
            regions.append(value)
        elif name in said:
            raise invalid("X-Routing", f"{name} stands there twice")
        else:
            said[name] = value
    try:
        fields = msgspec.convert({**said, "regions": regions or None}, _Fields, strict=False)
    except msgspec.ValidationError as error:
        raise invalid("X-Routing", _in_words(str(error))) from None
    return _wishes(fields, "X-Routing")


def _of_address(query: bytes) -> Wishes | None:
    if b"explain" not in query:
        return None
    said = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)).get("explain")
    return None if said is None else Wishes(explain=_explain(said, "explain"))


def _wishes(fields: _Fields, param: str) -> Wishes:
    regions = [*(fields.regions or []), *([fields.region] if fields.region else [])]
    return Wishes(
        objective=fields.objective,
        max_price=fields.max_price,
        max_price_per_million=fields.max_price_per_million,
        max_ttft=fields.max_ttft,
        regions=tuple(regions),
        explain=_explain(fields.explain, param),
    )


def _explain(said: bool | str | None, param: str) -> Explain:
    if said is None or said is False:
        return ""
    if said is True or said in ("true", "1"):
        return "only"
    if said not in _EXPLAIN:
        raise invalid(param, "explain is `only` (no answer) or `run` (with the answer)")
    return _EXPLAIN[said]


def _in_words(problem: str) -> str:
    words, _, place = problem.partition(" - at `$.")
    if "unknown field" in words:
        known = ", ".join(field.name for field in msgspec.structs.fields(_Fields))
        return f"there is {known}"
    if place.startswith("objective"):
        return "objective is one of order, latency, cost, quality, balanced"
    return f"{place.rstrip('`') or 'it'} must be a number of at least 0"
