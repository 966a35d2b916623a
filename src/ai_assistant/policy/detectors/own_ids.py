"""Check digits that python-stdnum does not know, or not as we need them."""

import re
from collections.abc import Callable
from datetime import date

from stdnum.iso7064 import mod_11_2

_PROVINCES = frozenset(
    f"{region}{number}"
    for region, numbers in {
        "1": "12345", "2": "123", "3": "1234567", "4": "123456", "5": "01234", "6": "12345",
        "7": "1", "8": "123", "9": "1",
    }.items()
    for number in numbers
)  # fmt: skip
_TAIWAN = "ABCDEFGHJKLMNPQRSTUVXYWZIO"
"""Letters in the order of their codes, from 10."""
_SINGAPORE = {"S": "JZIHGFEDCBA", "T": "GFEDCBAJZIH", "F": "XWUTRQPNMLK", "G": "RQPNMLKXWUT"}


def hong_kong(number: str) -> bool:
    """HKID: weights 9 to 2, remainder of 11; one letter counts as if a space stood before it."""
    body, check = number[:-1], number[-1]
    values = [36] * (8 - len(body)) + [int(one, 36) for one in body]
    total = sum(value * weight for value, weight in zip(values, range(9, 1, -1), strict=True))
    return (total + (10 if check == "A" else int(check))) % 11 == 0


def taiwan(number: str) -> bool:
    """National identification card: the letter's two digits, weights 1, 9 to 1, 1."""
    code = _TAIWAN.index(number[0]) + 10
    digits = [code // 10, code % 10, *map(int, number[1:])]
    weights = [1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1]
    return sum(a * b for a, b in zip(digits, weights, strict=True)) % 10 == 0


def singapore(number: str) -> bool:
    """NRIC and FIN: weights 2, 7 to 2, a letter by the remainder of 11."""
    weighted = sum(int(a) * b for a, b in zip(number[1:8], (2, 7, 6, 5, 4, 3, 2), strict=True))
    if number[0] == "M":
        return "KLJNPQRTUWX"[10 - (weighted + 3) % 11] == number[8]
    return _SINGAPORE[number[0]][weighted % 11] == number[8]


def chinese(number: str) -> bool:
    """Resident number: a province, a date of birth, ISO 7064 mod 11-2.

    The library's check also wants a county that still exists; people keep their numbers.
    """
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    return number[:2] in _PROVINCES and born.year >= 1880 and bool(mod_11_2.is_valid(number))


def old_chinese(number: str) -> bool:
    """Resident number of before 1999: a province and a date of birth, no check digit."""
    try:
        date(1900 + int(number[6:8]), int(number[8:10]), int(number[10:12]))
    except ValueError:
        return False
    return number[:2] in _PROVINCES


def shape_only(_: str) -> bool:
    """No check digit."""
    return True


CHECKS: dict[str, Callable[[str], bool]] = {
    "chinese": chinese,
    "hong_kong": hong_kong,
    "taiwan": taiwan,
    "singapore": singapore,
    "old_chinese": old_chinese,
    "nino": shape_only,
    "passport": shape_only,
}
_SEPARATORS = re.compile(r"[^0-9A-Z]")


def compact(number: str) -> str:
    """Capital letters and digits alone."""
    return _SEPARATORS.sub("", number.upper())
