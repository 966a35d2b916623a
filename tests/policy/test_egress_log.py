"""What the log promises: nothing acknowledged is lost, nothing changed goes unseen."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ai_assistant.policy.egress.anchor import parse_anchor
from ai_assistant.policy.egress.keys import NAME as KEY
from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.egress.record import Record
from ai_assistant.policy.egress.segments import segment, segments
from ai_assistant.policy.egress.verify import Verdict, read_records, verify
from ai_assistant.policy.errors import NotRecorded


def sent(number: int) -> Record:
    return Record(kind="sent", id=f"d{number}", request=f"r{number}", destination="openai",
                  bytes=100 + number, digest="0" * 64)  # fmt: skip


def ended(number: int) -> Record:
    return Record(kind="ended", id=f"d{number}", outcome="completed", status=200)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten departures that ended well."""
    log = EgressLog(tmp_path / "egress")
    for number in range(10):
        log.commit(sent(number))
        log.note(ended(number))
    log.close()
    return tmp_path / "egress"


def whats(verdict: Verdict) -> str:
    return "; ".join(f"{one.line}: {one.what}" for one in verdict.problems)


def edit(folder: Path, change: dict[int, bytes | None]) -> None:
    """Replace lines, counted from 0; None removes one."""
    path = segment(folder, 1)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(
        b"".join(
            new for index, line in enumerate(lines) if (new := change.get(index, line)) is not None
        )
    )


def test_a_log_that_nobody_touched_is_whole(folder: Path) -> None:
    verdict = verify(folder)
    assert verdict.sound, whats(verdict)
    assert verdict.records == 21
    assert verdict.head.startswith("21:")
    assert sum(one.kind == "sent" for one in read_records(folder)) == 10


def test_files_are_their_owners_alone_and_hold_no_content(folder: Path) -> None:
    if os.name == "posix":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_each_changed_byte_is_found(folder: Path) -> None:
    path = segment(folder, 1)
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(bytes(changed))
        assert not verify(folder).sound, place
    path.write_bytes(whole)
    assert verify(folder).sound


def test_a_changed_line_is_named(folder: Path) -> None:
    line = segment(folder, 1).read_bytes().splitlines(keepends=True)[3]
    edit(folder, {3: line.replace(b'"bytes":101', b'"bytes":1')})
    assert whats(verify(folder)) == "4: the signature is wrong: the line was changed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({5: None}, "records 6 to 6 are missing before it"),
        ({5: None, 6: None, 7: None}, "records 6 to 8 are missing before it"),
        ({0: None}, "records 1 to 1 are missing before it"),
        ({7: b"rubbish\n"}, "8: this is no record"),
    ],
)
def test_removed_lines_are_found(folder: Path, change: dict[int, bytes | None], words: str) -> None:
    edit(folder, change)
    assert words in whats(verify(folder))


def test_reordered_and_repeated_lines_are_found(folder: Path) -> None:
    lines = segment(folder, 1).read_bytes().splitlines(keepends=True)
    edit(folder, {4: lines[5], 5: lines[4]})
    assert "reordered" in whats(verify(folder))
    edit(folder, {4: lines[4], 5: lines[5] + lines[5]})
    assert "repeated" in whats(verify(folder))


def test_a_tail_that_was_cut_off_is_found(folder: Path) -> None:
    edit(folder, dict.fromkeys([19, 20]))
    assert "the tail is cut off: the anchor knows 2 more" in whats(verify(folder))
    # The next start does not make it good: it says so in the log.
    log = EgressLog(folder)
    log.commit(sent(11))
    log.close()
    assert "2 records before this one were gone" in whats(verify(folder))


def test_a_missing_file_or_anchor_is_found(tmp_path: Path) -> None:
    log = EgressLog(tmp_path, segment_bytes=2000)
    for number in range(20):
        log.commit(sent(number))
    log.close()
    assert len(segments(tmp_path)) > 3
    assert verify(tmp_path).sound
    kept = segment(tmp_path, 2).read_bytes()
    segment(tmp_path, 2).unlink()
    assert "file with number 2 is missing" in whats(verify(tmp_path))
    segment(tmp_path, 2).write_bytes(kept)
    (tmp_path / "egress.anchor").unlink()
    assert "the anchor is gone" in whats(verify(tmp_path))


def test_a_head_that_was_kept_elsewhere_finds_a_forged_log(folder: Path, tmp_path: Path) -> None:
    head = parse_anchor(verify(folder).head)
    forged = tmp_path / "forged"
    forged.mkdir()
    (forged / KEY).write_bytes((folder / KEY).read_bytes())
    log = EgressLog(forged)
    for number in range(20):
        log.commit(sent(number))
    log.close()
    assert verify(forged).sound
    assert "not the record that the head that you kept knows" in whats(
        verify(forged, expected=head)
    )
    assert verify(folder, expected=head).sound


def test_another_key_is_noticed(folder: Path, tmp_path: Path) -> None:
    other = EgressLog(tmp_path / "other")
    other.commit(sent(1))
    other.close()
    key = verify(tmp_path / "other").public_key
    assert "the signature is wrong" in whats(verify(folder, key=key))


def test_a_line_torn_by_a_crash_is_closed_honestly(folder: Path) -> None:
    path = segment(folder, 1)
    with path.open("ab") as file:
        file.write(b'{"seq":22,"prev":"ab')
    verdict = verify(folder)
    assert verdict.sound
    assert "torn" in verdict.notes[0]
    log = EgressLog(folder)
    log.commit(sent(11))
    log.close()
    verdict = verify(folder)
    assert verdict.sound, whats(verdict)
    assert "closed honestly" in verdict.notes[0]
    assert [one.kind for one in read_records(folder)][-2:] == ["torn", "sent"]


def test_departures_whose_end_nobody_knows_are_said_to_be_so(tmp_path: Path) -> None:
    log = EgressLog(tmp_path, segment_bytes=600)
    for number in range(4):
        log.commit(sent(number))
    log.note(ended(2))
    log.close()
    again = EgressLog(tmp_path)
    again.note(sent(9))
    again.close()
    unknown = {one.id for one in read_records(tmp_path) if one.outcome == "unknown"}
    assert unknown == {"d0", "d1", "d3"}
    assert verify(tmp_path).sound


def test_the_chain_goes_on_over_files(tmp_path: Path) -> None:
    log = EgressLog(tmp_path, segment_bytes=1000)
    for number in range(30):
        log.commit(sent(number))
    log.close()
    verdict = verify(tmp_path)
    assert verdict.sound, whats(verdict)
    assert verdict.files > 5
    assert [one.seq for one in read_records(tmp_path)] == list(range(1, verdict.records + 1))


def test_threads_share_syncs_and_keep_the_chain(tmp_path: Path) -> None:
    log = EgressLog(tmp_path, segment_bytes=20_000)
    threads = [
        threading.Thread(target=lambda k=k: [log.commit(sent(100 * k + i)) for i in range(25)])
        for k in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert verify(tmp_path).sound
    assert sum(one.kind == "sent" for one in read_records(tmp_path)) == 200


def test_only_one_program_writes(tmp_path: Path) -> None:
    first, second = EgressLog(tmp_path), EgressLog(tmp_path)
    first.commit(sent(1))
    with pytest.raises(NotRecorded, match="another program"):
        second.commit(sent(2))
    first.close()
    second.commit(sent(2))
    second.close()
    assert verify(tmp_path).sound


def test_where_nothing_can_be_written_nothing_is_acknowledged(tmp_path: Path) -> None:
    (tmp_path / "egress").write_text("in the way")
    with pytest.raises(NotRecorded, match="Nothing leaves"):
        EgressLog(tmp_path / "egress").commit(sent(1))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_and_the_log_goes_on_later(tmp_path: Path) -> None:
    log = EgressLog(tmp_path, segment_bytes=1)
    log.commit(sent(1))
    following = segment(tmp_path, len(segments(tmp_path)) + 1)
    following.symlink_to("/dev/full")
    with pytest.raises(NotRecorded):
        log.commit(sent(2))
    following.unlink()
    log.commit(sent(3))
    log.close()
    assert {one.id for one in read_records(tmp_path) if one.kind == "sent"} >= {"d1", "d3"}


def test_a_damaged_key_is_told_and_not_replaced(folder: Path) -> None:
    (folder / KEY).write_bytes(b"{")
    with pytest.raises(NotRecorded, match="damaged"):
        EgressLog(folder).commit(sent(1))
    assert (folder / KEY).read_bytes() == b"{"


def test_digests_need_the_key(tmp_path: Path) -> None:
    one, two = EgressLog(tmp_path / "a"), EgressLog(tmp_path / "b")
    assert one.digest(b"yes") == one.digest(b"yes") != two.digest(b"yes")
    one.close()
    two.close()


_WRITER = """
import sys
from pathlib import Path
from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.egress.record import Record
log = EgressLog(Path(sys.argv[1]), segment_bytes=30_000)
for number in range(1_000_000):
    log.commit(Record(kind="sent", id=f"{sys.argv[2]}-{number}"))
    sys.stdout.write(f"{sys.argv[2]}-{number}\\n")
    sys.stdout.flush()
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    for run in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), str(run)], stdout=subprocess.PIPE
        )
        assert child.stdout
        wanted = 3 + 37 * run
        for _ in range(wanted):
            acknowledged.add(child.stdout.readline().decode().strip())
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().decode().splitlines(keepends=True)
        acknowledged |= {line.strip() for line in rest if line.endswith("\n")}
        child.stdout.close()
        child.wait()
    written = {one.id for one in read_records(tmp_path) if one.kind == "sent"}
    assert acknowledged <= written
    verdict = verify(tmp_path)
    assert verdict.sound, whats(verdict)


def test_records_are_json_lines(folder: Path) -> None:
    for line in segment(folder, 1).read_text().splitlines():
        told = json.loads(line)
        assert {"seq", "time", "kind", "sig"} <= set(told)
