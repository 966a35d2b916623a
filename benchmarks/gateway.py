"""What the node adds to a small streamed chat request.

    python -m benchmarks.gateway [--quick] [--requests 100000] [--parts proxies memory rooms]

`proxies`: between a client and a provider, beside LiteLLM's proxy. `memory`: whether the node grows
over many such requests. `rooms`: between a client and an engine here, beside a bare server.
"""

import argparse

from benchmarks import gateway_proxies, gateway_rooms
from benchmarks.report import Record, publish

PARTS = ("proxies", "memory", "rooms")


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of all requests")
    parser.add_argument("--requests", type=int, default=100_000, help="of the part memory")
    parser.add_argument("--workers", type=int, default=1, help="processes of LiteLLM's proxy")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    given = parser.parse_args()
    records: list[Record] = []
    notes: list[str] = []
    if "proxies" in given.parts:
        records += gateway_proxies.beside(0.2 if given.quick else 1.0, given.workers)
        notes.append(
            f"peer: LiteLLM's proxy {gateway_proxies.litellm_proxy.VERSION}, {given.workers} "
            f"process(es); the node is one; both check a key; {gateway_proxies.TOKENS} tokens an "
            "answer from a server that answers at once; client, server and proxy share the cores"
        )
        notes.append("the node's rules are in force: each request is examined, signed and synced")
    if "memory" in given.parts:
        records += gateway_proxies.memory(given.requests // 10 if given.quick else given.requests)
    if "rooms" in given.parts:
        found, said = gateway_rooms.measured(400 if given.quick else 2000)
        records += found
        notes += said
    publish("gateway-quick" if given.quick else "gateway", records, notes=notes)


if __name__ == "__main__":
    main()
