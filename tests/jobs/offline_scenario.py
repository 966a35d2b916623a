"""Run inside a network namespace: a node with the network, without it, and with it again.

    ip netns exec NAME python -m tests.jobs.offline_scenario FOLDER ADDRESS GATEWAY DEVICE

Prints what it saw as JSON.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.system.running_node import RunningNode

CHAT = "/v1/chat/completions"


class Scenario:
    """One node in this namespace, killed and started again."""

    def __init__(self, folder: Path, address: str, gateway: str, device: str) -> None:
        self.folder, self.gateway, self.device = folder, gateway, device
        (folder / "providers.toml").write_text(
            f'[far]\nkind = "openai-compatible"\nbase_url = "http://{address}/v1"\nplace = "lan"\n'
            'deadlines = { connect = 2 }\n[[far.models]]\nid = "m"\nnames = ["far"]\n'
        )
        (folder / "policy.toml").write_text('[unlabelled]\nallow = ["lan"]\n')
        (folder / "config.toml").write_text(
            '[routes.either]\nmodels = ["far"]\nfallback = ["starter"]\n'
        )
        self.node = self.started()

    def started(self) -> RunningNode:
        node = RunningNode(self.folder)
        node.wait_ready()
        return node

    def ask(self, model: str, text: str, **headers: str) -> Any:
        body = {"model": model, "max_tokens": 8, "messages": [{"role": "user", "content": text}]}
        return self.node.http.post(CHAT, json=body, headers=headers)

    def run(self) -> dict[str, Any]:
        seen: dict[str, Any] = {"before": self.ask("far", "before").status_code}
        self.cut()
        sent = self.packets()
        seen["local"] = self.ask("starter", "hello").status_code
        refused = self.ask("far", "refused")
        seen["refused"] = (refused.status_code, refused.json()["error"]["code"])
        seen["fallback"] = self.ask("either", "hello").json()["model"]
        stored = [self.ask("far", f"waits {n}", **{"X-May-Wait": "2h"}) for n in range(3)]
        seen["stored"] = [one.status_code for one in stored]
        names = [one.json()["id"] for one in stored]
        seen["waits"] = self.until(names, "waiting")
        self.node.process.kill()  # the plug is pulled
        self.node.process.wait()
        self.node = self.started()
        seen["waits again"] = self.until(names, "waiting")
        seen["status"] = self.node.http.get("/status").json()["jobs"]
        metrics = self.node.http.get("/metrics").text
        seen["online"] = "ai_assistant_online 0.0" in metrics
        seen["packets"] = self.packets() - sent
        self.back()
        seen["ended"] = self.until(names, "ended")
        seen["answers"] = [self.answer(name) for name in names]
        seen["after"] = self.ask("far", "after").status_code
        self.node.stop()
        return seen

    def until(self, names: list[str], state: str, seconds: float = 90) -> list[Any]:
        deadline = time.monotonic() + seconds
        while True:
            told = [self.node.http.get(f"/v1/batches/{name}").json() for name in names]
            states = [one["ai_assistant"]["state"] for one in told]
            if all(one == state for one in states) or time.monotonic() > deadline:
                return [(one["status"], one["ai_assistant"].get("reason")) for one in told]
            time.sleep(0.2)

    def answer(self, name: str) -> str:
        file = self.node.http.get(f"/v1/batches/{name}").json()["output_file_id"]
        line = json.loads(self.node.http.get(f"/v1/files/{file}/content").text)
        return line["response"]["body"]["choices"][0]["message"]["content"]

    def packets(self) -> int:
        return int(Path(f"/sys/class/net/{self.device}/statistics/tx_packets").read_text())

    def cut(self) -> None:
        subprocess.run(["ip", "route", "del", "default"], check=True)

    def back(self) -> None:
        subprocess.run(["ip", "route", "add", "default", "via", self.gateway], check=True)


if __name__ == "__main__":
    found = Scenario(Path(sys.argv[1]), *sys.argv[2:5]).run()
    sys.stdout.write("\n" + json.dumps(found) + "\n")
