"""National numbers of people, passports and numbers of patients."""

import importlib
import re
from collections.abc import Callable, Iterator

from ai_assistant.policy.detectors.id_kinds import EVERYWHERE, KINDS, Kind
from ai_assistant.policy.detectors.numbers import context
from ai_assistant.policy.detectors.own_ids import CHECKS, compact
from ai_assistant.policy.expressions import Expression, ExpressionSet
from ai_assistant.policy.findings import Finding
from ai_assistant.policy.view import View

LABEL = "national_id"
MEDICAL = "medical_record"
_PATIENT = r"(?:[A-Z]{1,4}-?)?\d[\d-]{3,12}\d|\d{3} \d{3} \d{4}"
_EVERYWHERE = re.compile(EVERYWHERE, re.ASCII)
_PATIENT_WORDS = re.compile(
    r"(?:\bmrn|\bemr|medical record|patient(?:'s)?|health (?:card|record|insurance|id)"
    r"|hospital|chart|\bnhs|medicare|病历|病歷|病案|住院|门诊|門診|就诊|就診|医保|醫保|诊疗卡|患者)"
    r"(?:[\s_\-]*(?:numbers?|num|no\b|nr\b|id\b|identifier|card|record|code|号码?|號碼?|编号|卡|证))*"
    r"[\s.:：=#\"'(*]*(?:is|was|为|是)?[\s:：=#\"']*$",
    re.ASCII,
)
_SHAPES = (*(kind.shape for kind in KINDS), _PATIENT)
_CANDIDATE = Expression(
    f"(?:^|[^A-Za-z0-9])({'|'.join(f'(?:{shape})' for shape in _SHAPES)})",
    any_case=True,
    longest=True,
)
_MATCHING = ExpressionSet(_SHAPES, whole=True)
_MEDICAL_INDEX = len(KINDS)


_words = [re.compile(kind.words, re.ASCII) if kind.words else None for kind in KINDS]
"""Beside those of every country."""
_checks: dict[str, Callable[[str], bool]] = {
    kind.name: CHECKS.get(kind.name) or importlib.import_module(f"stdnum.{kind.name}").is_valid
    for kind in KINDS
}


def find(view: View) -> Iterator[Finding]:
    """Every candidate is checked by each kind whose shape it has; the surest kind names it."""
    text = view.text
    for _, _, start, end in _CANDIDATE.matches(view.ascii):
        if end < len(text) and text[end].isascii() and text[end].isalnum():
            continue
        candidate = text[start:end]
        around = context(view.lower, start, end)
        named = _EVERYWHERE.search(around) is not None
        best: Finding | None = None
        for index in _MATCHING.fitting(candidate):
            found = (
                _patient(view, candidate, start, end)
                if index == _MEDICAL_INDEX
                else _checked(view, index, candidate, start, around, named=named)
            )
            if found and (best is None or found.confidence > best.confidence):
                best = found
        if best:
            yield best


def _checked(
    view: View, index: int, candidate: str, start: int, around: str, *, named: bool
) -> Finding | None:
    kind, words = KINDS[index], _words[index]
    named = named or (words is not None and words.search(around) is not None)
    if not (kind.alone or named):
        return None
    key = (kind.name, candidate)
    if (valid := view.checked.get(key)) is None:
        valid = view.checked[key] = _is_valid(kind, candidate)
    if not valid:
        return None
    sure = min(1.0, (0.95 if kind.alone else 0.8) + 0.05 * named)
    return Finding(start, start + len(candidate), LABEL, f"national_id:{kind.name}", sure)


def _is_valid(kind: Kind, candidate: str) -> bool:
    check, plain = _checks[kind.name], compact(candidate)
    try:
        if check(plain):
            return True
        return kind.name not in CHECKS and plain != candidate and check(candidate)
    except Exception:  # noqa: BLE001 -- a number that a library stumbles over counts as one
        return True


def _patient(view: View, candidate: str, start: int, end: int) -> Finding | None:
    before = view.lower[max(0, start - 40) : start]
    if sum(map(str.isdigit, candidate)) < 5 or not _PATIENT_WORDS.search(before):
        return None
    return Finding(start, end, MEDICAL, "medical_record", 0.97)
