"""Files and batches of a real node, through the official client: also when the node is killed."""

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tests.system.conftest import StartNode
from tests.system.running_node import RunningNode

CHAT = "/v1/chat/completions"
EMBEDDINGS: Any = "/v1/embeddings"
FORM = "multipart/form-data; boundary=x"
ENDED = ("completed", "failed", "expired", "cancelled")


def lines(count: int, **body: Any) -> list[dict[str, Any]]:
    """Requests with names of their own."""
    question = [{"role": "user", "content": "Say hello."}]
    asked = {"model": "starter", "messages": question, "max_tokens": 4, **body}
    return [
        {"custom_id": f"r{i}", "method": "POST", "url": CHAT, "body": asked} for i in range(count)
    ]


def embeddings(count: int) -> list[dict[str, Any]]:
    return [
        {
            "custom_id": f"e{i}",
            "method": "POST",
            "url": EMBEDDINGS,
            "body": {"model": "tiny-embedding", "input": f"text {i}"},
        }
        for i in range(count)
    ]


def jsonl(entries: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def submit(client: openai.OpenAI, content: bytes, endpoint: Any = CHAT, **options: Any) -> Any:
    file = client.files.create(file=("requests.jsonl", content), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", **options
    )


def wait(client: openai.OpenAI, name: str, seconds: float = 60) -> Any:
    """The batch when it has ended."""
    deadline = time.monotonic() + seconds
    while (batch := client.batches.retrieve(name)).status not in ENDED:
        assert time.monotonic() < deadline, batch
        time.sleep(0.05)
    return batch


def entries(client: openai.OpenAI, file: str | None) -> list[Any]:
    return [json.loads(line) for line in client.files.content(file or "").text.splitlines()]


def test_the_whole_cycle(client: openai.OpenAI) -> None:
    content = jsonl(lines(8)) + b"not json\n"
    file = client.files.create(file=("../etc/requests.jsonl", content), purpose="batch")
    assert (file.filename, file.bytes, file.status) == ("requests.jsonl", len(content), "processed")
    assert client.files.content(file.id).content == content
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint=CHAT,
        completion_window="24h",
        metadata={"purpose": "test"},
        output_expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert batch.status == "validating"
    assert batch.expires_at == batch.created_at + 86_400
    with pytest.raises(openai.BadRequestError, match="reads this file"):
        client.files.delete(file.id)
    batch = wait(client, batch.id)
    assert (batch.status, batch.metadata, batch.model) == (
        "completed",
        {"purpose": "test"},
        "starter",
    )
    assert (batch.request_counts.total, batch.request_counts.completed) == (9, 8)
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    answers = entries(client, batch.output_file_id)
    assert [answer["custom_id"] for answer in answers] == [f"r{i}" for i in range(8)]
    assert all(answer["response"]["body"]["choices"] for answer in answers)
    assert len({answer["id"] for answer in answers}) == 8
    used = [answer["response"]["body"]["usage"] for answer in answers]
    assert batch.usage.total_tokens == sum(usage["total_tokens"] for usage in used)
    (error,) = entries(client, batch.error_file_id)
    assert (error["response"], error["error"]["code"]) == (None, "invalid_json_line")
    output = client.files.retrieve(batch.output_file_id)
    assert output.purpose == "batch_output"
    assert output.expires_at == output.created_at + 3600
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_lists_are_given_page_by_page(client: openai.OpenAI) -> None:
    made = [submit(client, jsonl(lines(1))).id for _ in range(3)]
    found = [batch.id for batch in client.batches.list(limit=2)]  # The client turns the pages.
    assert [name for name in found if name in made] == made[::-1]
    files = [file.id for file in client.files.list(purpose="batch", limit=2, order="asc")]
    assert len(files) == len(set(files)) >= 3
    for name in made:
        wait(client, name)


def test_texts_and_refused_lines(client: openai.OpenAI) -> None:
    asked = [
        {"custom_id": "good", "method": "POST", "url": "/v1/completions",
         "body": {"prompt": ["One", "Two"], "max_tokens": 3}},
        {"custom_id": "hot", "method": "POST", "url": "/v1/completions",
         "body": {"prompt": "One", "temperature": 9}},
        {"custom_id": "unknown", "method": "POST", "url": "/v1/completions",
         "body": {"prompt": "One", "model": "no-such-model"}},
    ]  # fmt: skip
    batch = wait(client, submit(client, jsonl(asked), "/v1/completions").id)
    (good,) = entries(client, batch.output_file_id)
    assert len(good["response"]["body"]["choices"]) == 2
    hot, unknown = entries(client, batch.error_file_id)
    assert hot["response"]["status_code"] == 400
    assert hot["response"]["body"]["error"]["param"] == "temperature"
    assert unknown["response"]["status_code"] == 404


def test_responses(client: openai.OpenAI) -> None:
    body = {"input": "Say hello.", "max_output_tokens": 4}
    asked = [{"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": body}]
    batch = wait(client, submit(client, jsonl(asked), "/v1/responses").id)
    (answer,) = entries(client, batch.output_file_id)
    assert answer["response"]["body"]["object"] == "response"
    assert batch.usage.total_tokens == answer["response"]["body"]["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"endpoint": "/v1/models"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"input_file_id": "file-000000000000000000000000"}, "no file"),
        ({"metadata": {"window": "at night"}}, "window"),
        ({"metadata": {"key": "x" * 513}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 5}}, "output_expires_after"),
    ],
)
def test_what_is_wrong_with_a_batch_is_named(
    client: openai.OpenAI, change: dict[str, Any], message: str
) -> None:
    file = client.files.create(file=("r.jsonl", jsonl(lines(1))), purpose="batch")
    order = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h", **change}
    with pytest.raises((openai.BadRequestError, openai.NotFoundError), match=message):
        client.post("/batches", body=order, cast_to=object)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "application/json"),
        (b"--x\r\n\r\n", FORM),
        (b"garbage", FORM),
        (b"", FORM),
        (b"--x\r\ncontent-disposition: form-data; name=file; filename=a\r\n\r\ncut", FORM),
    ],
)
def test_a_broken_upload_is_refused_and_leaves_nothing(
    node: RunningNode, body: bytes, kind: str
) -> None:
    before = _stored(node)
    answer = node.http.post("/v1/files", content=body, headers={"content-type": kind})
    assert answer.status_code == 400, answer.text
    assert _stored(node) == before


def _stored(node: RunningNode) -> set[str]:
    folder = node.log.parent / "data/jobs/files"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_an_upload_that_breaks_off_leaves_nothing(node: RunningNode) -> None:
    node.openai.files.list()
    before = _stored(node)
    url = httpx.URL(node.url)
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(
            b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
            b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"y" * 3_000_000
        )
        node.wait_for(lambda: any(name.endswith(".part") for name in _stored(node)))
    node.wait_for(lambda: _stored(node) == before)


def test_one_key_never_sees_anothers_jobs(
    start_node: StartNode, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("key-of-alice name=alice\nkey-of-bob name=bob\nkey-without-name\n")
    keys.chmod(0o600)
    node = start_node("--api-key-file", str(keys), "--model", str(tiny_models["tiny-embedding"]))
    clients = {
        key: openai.OpenAI(base_url=node.url + "/v1", api_key=key, max_retries=0)
        for key in ("key-of-alice", "key-of-bob", "key-without-name")
    }
    alice = clients["key-of-alice"]
    assert alice.models.list().data
    assert not (node.log.parent / "data/jobs").exists(), "nobody has asked for jobs yet"
    batch = wait(alice, submit(alice, jsonl(embeddings(4)), EMBEDDINGS).id)
    vectors = [e["response"]["body"]["data"][0] for e in entries(alice, batch.output_file_id)]
    assert len({tuple(vector["embedding"]) for vector in vectors}) == 4
    for key in ("key-of-bob", "key-without-name"):
        other = clients[key]
        assert list(other.files.list()) == []
        assert list(other.batches.list()) == []
        for file in (batch.input_file_id, batch.output_file_id):
            for look in (other.files.retrieve, other.files.content, other.files.delete):
                with pytest.raises(openai.NotFoundError):
                    look(file)
            with pytest.raises(openai.NotFoundError):
                other.batches.create(input_file_id=file, endpoint=CHAT, completion_window="24h")
        for act in (other.batches.retrieve, other.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                act(batch.id)
    for other in clients.values():
        other.close()


def test_a_cancelled_batch_keeps_what_is_done(node: RunningNode) -> None:
    batch = submit(node.openai, jsonl(lines(200, max_tokens=60, ignore_eos=True)))
    node.wait_for(lambda: node.openai.batches.retrieve(batch.id).request_counts.completed >= 3)
    assert node.openai.batches.cancel(batch.id).status == "cancelling"
    batch = wait(node.openai, batch.id, 10)
    counts = batch.request_counts
    assert batch.status == "cancelled"
    assert 3 <= counts.completed < 200
    assert len(entries(node.openai, batch.output_file_id)) == counts.completed
    assert len(entries(node.openai, batch.error_file_id)) == counts.failed
    assert counts.completed + counts.failed == 200
    with pytest.raises(openai.BadRequestError, match="cannot be cancelled"):
        node.openai.batches.cancel(batch.id)
    node.wait_for(lambda: node.model()["engine"]["running"] == 0, 5)


def test_a_person_does_not_wait_for_a_batch(node: RunningNode) -> None:
    slots, before = (node.model()["engine"][name] for name in ("slots", "preemptions"))
    batch = submit(node.openai, jsonl(lines(slots + 4, max_tokens=900, ignore_eos=True)))
    node.wait_for(lambda: node.model()["engine"]["running"] == slots)
    for _ in range(3):
        answer = node.openai.chat.completions.create(
            model="starter",
            messages=[{"role": "user", "content": "Hello!"}],
            max_tokens=5,
            extra_body={"priority": "interactive"},
        )
        assert answer.choices[0].message.content
    # All three were answered before even the first lines, which had begun long before.
    assert node.openai.batches.retrieve(batch.id).request_counts.completed == 0
    node.wait_for(lambda: node.model()["engine"]["preemptions"] > before, 5)
    node.openai.batches.cancel(batch.id)
    wait(node.openai, batch.id, 10)


def test_a_batch_makes_room_for_another_model(
    start_node: StartNode, tiny_models: dict[str, Path]
) -> None:
    node = start_node("--model", str(tiny_models["tiny"]), AI_ASSISTANT_SCHEDULER_MAX_LOADED="1")
    batch = submit(node.openai, jsonl(lines(300, max_tokens=40, ignore_eos=True)))
    node.wait_for(lambda: node.openai.batches.retrieve(batch.id).request_counts.completed > 0)
    answer = node.openai.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "Hello!"}], max_tokens=3
    )
    assert answer.model == "tiny"
    found: Any = node.openai.batches.retrieve(batch.id).to_dict()
    assert found["status"] == "in_progress"
    told = node.wait_for(
        lambda: (
            (now := node.openai.batches.retrieve(batch.id).to_dict()["ai_assistant"]).get("reason")
            and now
        )
    )
    assert told["reason"] == "model"
    node.openai.batches.cancel(batch.id)
    wait(node.openai, batch.id, 10)


class Killed:
    """A node that is killed and started again in its folder, at random moments."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.node = RunningNode(folder)

    def kill(self) -> None:
        self.node.http.close()
        self.node.openai.close()
        self.node.process.kill()
        self.node.process.wait()

    def restart(self) -> None:
        self.node = RunningNode(self.folder)

    def run_through(self, batch: str, kills: int, longest: float) -> Any:
        for _ in range(kills):
            time.sleep(self.random.uniform(0, longest))
            self.kill()
            self.restart()
        ended = wait(self.node.openai, batch, 600)
        return ended, entries(self.node.openai, ended.output_file_id)


def _nothing_lost_or_double(batch: Any, answers: list[Any], count: int) -> None:
    assert [answer["custom_id"] for answer in answers] == [f"r{i}" for i in range(count)]
    assert all(answer["response"]["status_code"] == 200 for answer in answers)
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (count, count, 0)
    assert batch.status == "completed"


def test_killed_twice_nothing_is_lost_or_double(tmp_path: Path) -> None:
    killed = Killed(tmp_path, seed=7)
    try:
        killed.node.wait_ready()
        client = killed.node.openai
        batch = submit(client, jsonl(lines(24, max_tokens=16, ignore_eos=True)))
        killed.node.wait_for(lambda: client.batches.retrieve(batch.id).request_counts.completed > 2)
        ended, answers = killed.run_through(batch.id, kills=2, longest=1.5)
        _nothing_lost_or_double(ended, answers, 24)
        said = killed.node.log.read_text()
        assert "Traceback" not in said
        assert "ERROR" not in said
    finally:
        killed.kill()
    with sqlite3.connect(tmp_path / "data/jobs/jobs.db") as db:
        assert db.execute("SELECT count(*) FROM job_results").fetchone() == (0,)
    db.close()


@pytest.mark.slow
def test_a_stopped_node_puts_batches_down_and_goes_on_later(tmp_path: Path) -> None:
    killed = Killed(tmp_path, seed=1)
    try:
        killed.node.wait_ready()
        client = killed.node.openai
        batch = submit(client, jsonl(lines(60, max_tokens=24, ignore_eos=True)))
        killed.node.wait_for(lambda: client.batches.retrieve(batch.id).request_counts.completed > 2)
        begun = time.monotonic()
        assert killed.node.stop() == 0
        assert time.monotonic() - begun < 10
        killed.restart()
        ended, answers = killed.run_through(batch.id, kills=0, longest=0)
        _nothing_lost_or_double(ended, answers, 60)
        assert "WARNING" not in killed.node.log.read_text()
    finally:
        killed.kill()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_300_lines_and_many_kills(tmp_path: Path, seed: int) -> None:
    killed = Killed(tmp_path, seed)
    try:
        batch = submit(killed.node.openai, jsonl(lines(300, max_tokens=24, ignore_eos=True)))
        ended, answers = killed.run_through(batch.id, kills=15, longest=4.0)
        _nothing_lost_or_double(ended, answers, 300)
    finally:
        killed.kill()


def test_a_batch_may_wait_for_its_hours(node: RunningNode) -> None:
    hour = time.localtime(time.time() + 7200).tm_hour
    window = f"{hour:02}:00-{hour:02}:01"
    batch = submit(node.openai, jsonl(lines(2)), metadata={"window": window})

    def doing() -> Any:
        found: Any = node.openai.batches.retrieve(batch.id).to_dict()
        return found["ai_assistant"] if found["status"] == "in_progress" else None

    told = node.wait_for(lambda: (found := doing()) and found.get("until") and found)
    assert (told["state"], told["reason"]) == ("waiting", "window")
    assert time.localtime(told["until"]).tm_hour == hour
    node.openai.batches.cancel(batch.id)
    assert wait(node.openai, batch.id, 10).request_counts.completed == 0


# The command.


def test_the_command_from_submit_to_results(node: RunningNode, tmp_path: Path) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_bytes(jsonl(lines(5)) + b"broken\n")
    sent = json.loads(node.command("batch", "submit", str(asked), "--json").stdout)
    assert sent["endpoint"] == CHAT
    watched = node.command("batch", "watch", sent["id"])
    assert watched.returncode == 0, watched.stderr
    assert "completed, 6 of 6, 1 failed" in watched.stdout
    assert f"batch results {sent['id']}" in watched.stdout
    rows = node.command("batch", "ls").stdout
    assert sent["id"] in rows
    assert any(
        one["id"] == sent["id"] for one in json.loads(node.command("batch", "ls", "--json").stdout)
    )
    answers = tmp_path / "answers.jsonl"
    written = node.command("batch", "results", sent["id"], "-o", str(answers), "--json")
    assert json.loads(written.stdout)["bytes"] == answers.stat().st_size
    assert answers.stat().st_mode & 0o777 == 0o600
    assert len(answers.read_text().splitlines()) == 5
    shown = node.command("batch", "results", sent["id"], "--errors").stdout
    assert json.loads(shown)["error"]["code"] == "invalid_json_line"
    late = node.command("batch", "cancel", sent["id"])
    assert late.returncode == 1
    assert "cannot be cancelled" in late.stderr


def test_ctrl_c_leaves_the_batch_running_and_says_so(node: RunningNode, tmp_path: Path) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_bytes(jsonl(lines(300, max_tokens=100, ignore_eos=True)))
    name = json.loads(node.command("batch", "submit", str(asked), "--json").stdout)["id"]
    early = node.command("batch", "results", name)
    assert early.returncode == 1
    assert "when it has ended" in early.stderr
    watching = subprocess.Popen(
        [sys.executable, "-u", "-m", "ai_assistant", "batch", "watch", "--url", node.url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watching.stdout
    assert name in watching.stdout.readline()
    threading.Timer(0.1, os.kill, (watching.pid, signal.SIGINT)).start()
    _, said = watching.communicate(timeout=20)
    assert watching.returncode == 130
    assert "The batch goes on" in said
    assert node.openai.batches.retrieve(name).status in ("validating", "in_progress")
    cancelled = node.command("batch", "cancel", name)
    assert "Cancelled." in cancelled.stdout
    watched = node.command("batch", "watch", name, "--json").stdout.splitlines()
    assert json.loads(watched[-1])["status"] == "cancelled"  # one line per change
