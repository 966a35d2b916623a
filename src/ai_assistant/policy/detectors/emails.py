"""E-mail addresses, also percent-encoded or written with (at) and [dot]."""

import re
from collections.abc import Iterator

from ai_assistant.policy.findings import Finding
from ai_assistant.policy.view import View

LABEL = "email"
# What it may begin with stands first: the search for that is several times as quick.
_AT = re.compile(r"[@%\[({<](?:(?<=@)|(?<=%)40|(?<=[\[({<])\s?[aA][tT]\s?[\])}>]\s?)")
_LOCAL = re.compile(r"[A-Za-z0-9.!#$&'*+/=?^_`{|}~\-]{1,64}\Z")
_DOT = r"(?:\.|\s?[\[({]\s?dot\s?[\])}]\s?)"
_DOMAIN = re.compile(
    rf"[A-Za-z0-9](?:[A-Za-z0-9\-]{{0,62}})(?:{_DOT}[A-Za-z0-9\-]{{1,63}}){{0,8}}?"
    rf"{_DOT}([A-Za-z]{{2,24}})(?![A-Za-z0-9\-]|{_DOT}[A-Za-z0-9])",
    re.IGNORECASE,
)
_FOREIGN_LOCAL = re.compile(r"[\w.+\-]{1,64}\Z")
_FOREIGN = re.compile(r"[\w\-]{1,63}(?:[.。][\w\-]{1,63}){0,8}[.。]([^\W\d_]{2,24})")
_IMAGES = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "bmp"})


def find(view: View) -> Iterator[Finding]:
    """Addresses with a top-level domain."""
    text = view.text
    for match in _AT.finditer(text):
        end = _end_of_local(text, match)
        local = _LOCAL.search(text, max(0, end - 64), end)
        domain = _DOMAIN.match(text, match.end())
        sure = 1.0 if match[0] == "@" else 0.9
        if not (local and domain):
            local = _FOREIGN_LOCAL.search(text, max(0, end - 64), end)
            domain = _FOREIGN.match(text, match.end())
            sure = 0.7
        if local and domain and not _is_other(text, local, domain):
            # `to=bob@…` is an assignment more often than a name.
            name = local[0].rpartition("=")[2].lstrip("./'`{|?&*#")
            start = end - len(name)
            if name:
                yield Finding(start, domain.end(), LABEL, "email", sure)


def _end_of_local(text: str, match: re.Match[str]) -> int:
    """A space may stand before `(at)`."""
    start = match.start()
    return start - (match[0][0] in "[({<" and text[max(start - 1, 0) : start].isspace())


def _is_other(text: str, local: re.Match[str], domain: re.Match[str]) -> bool:
    """A picture of double resolution, a repository, or a password in an address."""
    if domain[1].lower() in _IMAGES:
        return True
    if local[0].endswith("git") and text[domain.end() : domain.end() + 1] == ":":
        return True
    before = text[max(0, local.start() - 80) : local.start()]
    return before.endswith(":") and "://" in before.split()[-1]
