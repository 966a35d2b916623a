"""Requests to the service, the answer to the client: whole or as events.

Every exchange ends in one whole answer, one final event or one named error.
"""

import asyncio
import logging
from collections.abc import Sequence

from msgspec import structs

from ai_assistant.gateway.answers import Answer
from ai_assistant.gateway.exchange import ClientGone, Exchange
from ai_assistant.gateway.feed import Feed
from ai_assistant.gateway.handed_out import HandedOut
from ai_assistant.gateway.routing_wishes import told_headers, wishes_of
from ai_assistant.protocol.errors import AssistantError, ShuttingDown, UnsupportedFeature
from ai_assistant.protocol.requests import GenerateRequest
from ai_assistant.protocol.worker import Service

_log = logging.getLogger(__name__)


async def reply(
    exchange: Exchange,
    service: Service,
    requests: Sequence[GenerateRequest],
    answer: Answer,
    *,
    stream: bool,
) -> None:
    """Generate and send. Cancels what runs when the client leaves or an error ends it.

    What the client wishes of whoever answers is put on the requests here, for every wire format.
    """
    wishes = wishes_of(exchange)
    if wishes is not None:
        requests = [structs.replace(request, wishes=wishes) for request in requests]
        if wishes.explain == "only":
            await _send_decision(exchange, service, requests[0])
            return
    feed = Feed(service, requests, exchange)
    try:
        if stream:
            await _send_events(exchange, feed, answer)
        else:
            await _send_whole(exchange, feed, answer)
    finally:
        await feed.close()


async def _send_decision(exchange: Exchange, service: Service, request: GenerateRequest) -> None:
    """Who would answer and why; nobody is asked."""
    feed = Feed(service, [request], exchange)
    try:
        await feed.take()
    finally:
        await feed.close()
    if feed.served is None or feed.served.decision is None:
        raise UnsupportedFeature("explain: this node has no router, so there is nothing to choose.")
    await exchange.send_object({"object": "decision", **structs.asdict(feed.served.decision)})


async def _send_whole(exchange: Exchange, feed: Feed, answer: Answer) -> None:
    while not feed.ended:
        for piece in await feed.take():
            answer.add(piece)
    await exchange.send_json(answer.body(), headers=told_headers(feed.served, final=True))


async def _send_events(exchange: Exchange, feed: Feed, answer: Answer) -> None:
    handed = HandedOut()
    pieces = await feed.take()  # What fails before the first piece still gets a status.
    await exchange.start_stream(answer.media, told_headers(feed.served, final=False))
    try:
        while True:
            events = answer.events(pieces) if pieces or feed.ended else answer.ping
            handed.note(pieces)
            if feed.ended:
                await exchange.send_events(events + _end(answer, handed), last=True)
                return
            await exchange.send_events(events)
            pieces = await feed.take()
    except ClientGone:
        raise
    except AssistantError as error:
        await exchange.send_events(answer.failure(error, handed.reached), last=True)
    except asyncio.CancelledError:
        error = ShuttingDown("The server is stopping; send the request again in a moment.")
        await exchange.send_events(answer.failure(error, handed.reached), last=True)
    except Exception:  # noqa: BLE001 - the last place that can still name it
        _log.exception("request %s failed in the middle of its stream", exchange.request_id)
        error = AssistantError(f"Something went wrong here. See the log: {exchange.request_id}.")
        await exchange.send_events(answer.failure(error, handed.reached), last=True)


def _end(answer: Answer, handed: HandedOut) -> bytes:
    try:
        return answer.end()
    except AssistantError as error:
        return answer.failure(error, handed.reached)
