"""All detectors over all texts of a request, and over the seams between them.

A number that is split over two messages is found where they meet, and one whose name stands in the
message before it. Fails closed: a detector that
raises, or a scan that takes too long, leaves the mark `unchecked`.
"""

import contextlib
import hashlib
import logging
import threading
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from ai_assistant.policy.detectors import addresses, cards, emails, ibans, national_ids, phones
from ai_assistant.policy.detectors.numbers import runs
from ai_assistant.policy.detectors.own import Own
from ai_assistant.policy.detectors.secrets import Secrets
from ai_assistant.policy.findings import Finding, resolved
from ai_assistant.policy.seams import Piece, Seams
from ai_assistant.policy.view import Checked, View

log = logging.getLogger(__name__)

BUILT_IN = (
    emails.LABEL,
    phones.LABEL,
    national_ids.LABEL,
    cards.LABEL,
    ibans.LABEL,
    "secret",
    national_ids.MEDICAL,
    addresses.LABEL,
)
_CHECKED = frozenset({national_ids.LABEL, cards.LABEL, ibans.LABEL})
"""Labels of numbers with check digits."""
_SEAM = 80
"""Characters on each side of a seam that are looked at again."""
_REMEMBERED = 32_768
_SAMPLE = (
    "Write to ann@mail.example or call +1 (212) 555-0123, 0171 2345678 or 13912345678; the ID "
    "number is 110105 19900307 2394, her SSN 219-09-9999, NINO QQ 12 34 56 C, NIF 12345678Z, "
    "card 4111 1111 1111 1111, account DE89 3704 0044 0532 0130 00, MRN 00482913, "
    "at 192.0.2.17. 身份证号 11010519900307239X，手机 139 1234 5678，护照。"
)
"""Something for every detector."""

Detector = Callable[[View], Iterable[Finding]]


class Part(msgspec.Struct, frozen=True):
    """One text of a request. Texts of one voice are also read as if nothing stood between them."""

    text: str
    voice: str = ""
    json: bool = False
    """Whether it is JSON text and must stay so."""


class Scan(msgspec.Struct, frozen=True):
    """What was found, for each part in its own positions."""

    findings: tuple[tuple[Finding, ...], ...]
    failure: str = ""
    """Why the texts could not be checked wholly; empty: they were."""


class _TimeOut(Exception):
    pass


class Scanner:
    """Detectors as the rules want them. Remembers texts that it has read, by digest."""

    def __init__(
        self,
        own: Sequence[Own] = (),
        *,
        with_addresses: bool = False,
        regions: tuple[str, ...] = phones.REGIONS,
        seconds: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`seconds` is the limit for each 100,000 characters, and at least for one scan."""
        self._regions = regions
        phones.prepare(regions)
        self._seconds = seconds
        self._clock = clock
        self._detectors: list[Detector] = [
            emails.find,
            self._numbers,
            national_ids.find,
            ibans.find,
            _secrets().find,
            *((addresses.find,) if with_addresses else ()),
            *(one.find for one in own),
        ]
        self._known: OrderedDict[bytes, tuple[Finding, ...]] = OrderedDict()
        self._remembering = threading.Lock()
        self._seams = Seams()
        # What is built at first use is built now. A detector that fails says so at each scan.
        with contextlib.suppress(Exception):
            self._search(_SAMPLE, float("inf"), {})

    def scan(self, parts: Sequence[Part]) -> Scan:
        """Findings of every part; never raises."""
        size = sum(len(part.text) for part in parts)
        deadline = self._clock() + self._seconds * max(1.0, size / 100_000)
        try:
            checked: Checked = {}
            digests = [_digest(part.text) for part in parts]
            found = [
                list(self._read(part.text, digest, deadline, checked))
                for part, digest in zip(parts, digests, strict=True)
            ]
            for members in _voices(parts):
                self._read_seams(parts, members, digests, found, deadline, checked)
        except _TimeOut:
            return Scan(((),) * len(parts), "the detectors took too long")
        except Exception as error:  # noqa: BLE001 -- whatever it is, nothing may leave
            log.warning("A detector failed: %s", type(error).__name__)
            return Scan(((),) * len(parts), f"a detector failed ({type(error).__name__})")
        return Scan(tuple(resolved(dict.fromkeys(one)) for one in found))

    def _read(
        self, text: str, key: bytes, deadline: float, checked: Checked
    ) -> tuple[Finding, ...]:
        with self._remembering:
            if (known := self._known.get(key)) is not None:
                self._known.move_to_end(key)
                return known
        found = self._search(text, deadline, checked)
        with self._remembering:
            self._known[key] = found
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found

    def _search(self, text: str, deadline: float, checked: Checked) -> tuple[Finding, ...]:
        if not text:
            return ()
        view = View(text, checked)
        found: list[Finding] = []
        for detector in self._detectors:
            for one in detector(view):
                found.append(one)
                if self._clock() > deadline:
                    raise _TimeOut
            if self._clock() > deadline:
                raise _TimeOut
        return tuple(_in_raw(view, one) for one in resolved(found))

    def _numbers(self, view: View) -> Iterator[Finding]:
        for run in runs(view.text, view.lower, view.checked):
            yield from cards.find(run)
            yield from phones.find(run, self._regions)

    def _read_seams(
        self,
        parts: Sequence[Part],
        members: Sequence[int],
        digests: Sequence[bytes],
        found: list[list[Finding]],
        deadline: float,
        checked: Checked,
    ) -> None:
        own = [digests[index] for index in members]
        known = self._seams.find(own)
        starts, place = _starts(parts, members)
        # Seams whose stretch ended before the last known text did: nothing behind it counts.
        before = starts[known.texts] if known.texts < len(starts) else place
        pieces = [(seam, piece) for seam, piece in known.pieces if seam + _SEAM < before]
        for _, (position, piece) in pieces:
            found[members[position]].append(piece)
        seams = [start for start in starts[1:] if 0 < start < place]
        new = [seam for seam in dict.fromkeys(seams) if seam + _SEAM >= before]
        joined = "".join(parts[index].text for index in members) if new else ""
        for seam in new:
            start, end = max(0, seam - _SEAM), min(place, seam + _SEAM)
            text = joined[start:end]
            # Read by itself, not as one with its neighbours: it is the same in the next turn.
            for one in self._read(text, _digest(text), deadline, checked):
                begun, ended = one.start + start, one.end + start
                cut = (begun == start > 0) or (ended == end < place)
                first = bisect_right(seams, begun)
                if not cut or (first < len(seams) and seams[first] < ended):
                    told = _pieces(one, begun, ended, members, starts, parts)
                    if not _is_known(told, members, found):
                        for position, piece in told:
                            found[members[position]].append(piece)
                            pieces.append((seam, (position, piece)))
        self._seams.keep(own, tuple(pieces))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _starts(parts: Sequence[Part], members: Sequence[int]) -> tuple[list[int], int]:
    """Where each text begins in all of them together, and how long that is."""
    starts: list[int] = []
    place = 0
    for index in members:
        starts.append(place)
        place += len(parts[index].text)
    return starts, place


def _pieces(
    one: Finding,
    begun: int,
    ended: int,
    members: Sequence[int],
    starts: Sequence[int],
    parts: Sequence[Part],
) -> list[Piece]:
    """For each of the texts, by its position, its piece of a finding that lies over seams."""
    pieces: list[Piece] = []
    first, last = bisect_right(starts, begun) - 1, bisect_left(starts, ended)
    for position in range(first, last):
        start = starts[position]
        low = max(begun, start) - start
        high = min(ended, start + len(parts[members[position]].text)) - start
        if low < high:
            pieces.append((position, msgspec.structs.replace(one, start=low, end=high)))
    return pieces


def _is_known(
    pieces: Sequence[Piece], members: Sequence[int], found: Sequence[Sequence[Finding]]
) -> bool:
    """A part holds the whole of it already; the next part's first word only seemed to go on.

    A longer number whose check digits are right is no such seeming.
    """
    return any(
        known.label == piece.label
        and (len(pieces) == 1 or piece.label not in _CHECKED)
        and known.start <= piece.start
        and piece.end <= known.end
        for position, piece in pieces
        for known in found[members[position]]
    )


def _voices(parts: Sequence[Part]) -> list[list[int]]:
    """The parts in their order, and those of each voice that others interrupt."""
    every = list(range(len(parts)))
    by_voice: dict[str, list[int]] = {}
    for index, part in enumerate(parts):
        by_voice.setdefault(part.voice, []).append(index)
    broken = [own for own in by_voice.values() if len(own) > 1 and own[-1] - own[0] >= len(own)]
    return [every, *broken]


def _in_raw(view: View, one: Finding) -> Finding:
    start, end = view.span(one.start, one.end)
    return msgspec.structs.replace(one, start=start, end=end)


_shared: list[Secrets] = []


def _secrets() -> Secrets:
    """One for the process: its rules take 75 ms to read and to compile."""
    if not _shared:
        found = Secrets()
        found.prepare()
        _shared.append(found)
    return _shared[0]
