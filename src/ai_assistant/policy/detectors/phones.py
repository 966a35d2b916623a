"""Telephone numbers, as libphonenumber knows them."""

import re
from collections.abc import Iterator

import phonenumbers

from ai_assistant.policy.detectors.numbers import Run
from ai_assistant.policy.findings import Finding

LABEL = "phone"
FEWEST, MOST = 7, 15
REGIONS = ("CN", "US", "GB", "DE", "FR", "IN", "JP", "ES", "IT", "AU")
"""Whose national numbers are recognised beside words such as `phone`."""

_WORDS = re.compile(
    r"phone|\btel\b|\btel[.:]|mobile|\bcell|\bcall\b|\bring\b|\btext\b|\bsms\b|fax|whatsapp|wechat"
    r"|reach (?:me|him|her|us)|contact|hotline|dial"
    r"|t[ée]l[ée]phone|telefon|tel[ée]fono|handy|m[óo]vil|portable|cellulare|rufnummer"
    r"|电话|電話|手机|手機|座机|联系|聯絡|致电|拨打|短信|传真|微信|号码|携帯",
    re.ASCII,
)
_DATE = re.compile(
    r"(?:19|20)\d\d[-/. ](?:0?[1-9]|1[0-2])[-/. ](?:0?[1-9]|[12]\d|3[01])(?!\d)"
    r"|(?:0?[1-9]|[12]\d|3[01])[-/.](?:0?[1-9]|[12]\d|3[01])[-/.](?:19|20)?\d\d(?!\d)"
)
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}\Z")
_MOBILE = re.compile(r"(?:0?86)?1[3-9]\d{9}\Z")
_MOST_GROUPS = 7
# How the groups of a number are long, and what then may be meant.
_SHAPES: dict[tuple[int, ...], str] = {
    **dict.fromkeys(
        [(11,), (3, 4, 4), (3, 8), (7, 4), (4, 4, 3), (13,), (2, 11), (2, 3, 4, 4)], "m"
    ),
    **dict.fromkeys([(3, 3, 4), (1, 3, 3, 4)], "a"),
    **dict.fromkeys([(4, 7), (4, 8), (4, 4, 4)], "l"),
}


def find(run: Run, regions: tuple[str, ...] = REGIONS) -> Iterator[Finding]:
    """Numbers in a run of digits, none overlapping another."""
    if _ADDRESS.match(run.raw) or run.text[run.start - 1 : run.start] in ("$", "€", "£", "¥", "#"):
        return
    first = 0
    while first < len(run.sizes):
        count, sure = _longest(run, first, regions)
        if count:
            start, end = run.groups[first][0], run.groups[first + count - 1][1]
            opened = start > 0 and run.text[start - 1] in "+("
            yield Finding(start - opened, end, LABEL, "phone", sure)
        first += count or 1


def _longest(run: Run, first: int, regions: tuple[str, ...]) -> tuple[int, float]:
    """How many groups from `first` on are a number, and how sure that is; 0 groups: none."""
    sizes = run.sizes
    start = run.groups[first][0]
    international = run.text[start - 1 : start] == "+" and start > 0
    most = _MOST_GROUPS if international or len(sizes) <= _MOST_GROUPS else 4
    for count in range(min(len(sizes) - first, most), 0, -1):
        shape = sizes[first : first + count]
        whole = count == len(sizes)
        if not (international or whole or shape in _SHAPES) or not FEWEST <= sum(shape) <= MOST:
            continue
        end = run.groups[first + count - 1][1]
        if _is_glued(run, start, end) or _DATE.match(run.text, start, end):
            continue
        digits = run.digits(first, count)
        if sure := _confidence(run, digits, shape, international, whole, regions):
            return count, sure
    return 0, 0.0


def _is_glued(run: Run, start: int, end: int) -> bool:
    following = run.text[end : end + 1]
    return (start == run.start and run.glued_before) or (
        end == run.end and run.glued_after and following not in ("x", "X", "e")
    )


def _confidence(
    run: Run,
    digits: str,
    shape: tuple[int, ...],
    international: bool,
    whole: bool,
    regions: tuple[str, ...],
) -> float:
    """0: not a number that exists."""
    if international:
        return 1.0 if _exists(run, "+" + digits, None) else 0.0
    meant = _SHAPES.get(shape)
    if meant == "m" and _MOBILE.match(digits) and _exists(run, digits[-11:], "CN"):
        return 0.9
    if meant in ("l", "m") and digits[0] == "0" and _exists(run, digits, "CN"):
        return 0.85
    if meant == "a" and _exists(run, digits, "US"):
        return 0.85
    return _in_words(run, digits, shape, regions) if whole else 0.0


def _in_words(run: Run, digits: str, shape: tuple[int, ...], regions: tuple[str, ...]) -> float:
    """What only the words beside it, or a trunk prefix, make a telephone number."""
    grouped = digits[0] == "0" and 2 <= len(shape) <= 6 and len(digits) >= 9
    if not (grouped or _WORDS.search(run.context)):
        return 0.0
    if digits.startswith("00"):
        return 0.8 if _exists(run, "+" + digits[2:], None) else 0.0
    return 0.7 if any(_exists(run, digits, region) for region in regions) else 0.0


def _exists(run: Run, number: str, region: str | None) -> bool:
    if region is not None and not _may_exist(number, region):
        return False
    key = (f"phone {region}", number)
    if (known := run.checked.get(key)) is not None:
        return known
    try:
        found = phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        found = False
    run.checked[key] = found
    return found


def prepare(regions: tuple[str, ...]) -> None:
    """Read what is known of the regions, so that the first texts need not wait for it: 50 ms."""
    phonenumbers.enable_pattern_cache()  # that of `re` is too small for all countries
    for region in regions:
        _may_exist("0", region)
        code = phonenumbers.country_code_for_region(region)
        for neighbour in phonenumbers.region_codes_for_country_code(code):
            if number := phonenumbers.example_number(neighbour):
                phonenumbers.is_valid_number(number)


def _may_exist(digits: str, region: str) -> bool:
    """Quickly: the region's numbers begin so and are so long, with or without trunk prefix."""
    if region not in _general:
        metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
        general = metadata.general_desc if metadata else None
        described = general.national_number_pattern if general else None
        _general[region] = re.compile(described or "(?!)")
    pattern = _general[region]
    return bool(pattern.fullmatch(digits) or (digits[0] in "018" and pattern.fullmatch(digits[1:])))


_general: dict[str, re.Pattern[str]] = {}
