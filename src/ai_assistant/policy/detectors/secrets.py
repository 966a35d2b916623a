"""Keys, tokens, passwords and private keys."""

import re
from collections.abc import Iterator

from ai_assistant.policy.detectors.secret_rules import Rule, entropy, read_rules
from ai_assistant.policy.expressions import Expression, ExpressionSet
from ai_assistant.policy.findings import Finding
from ai_assistant.policy.view import View

LABEL = "secret"
# The first characters of what it looks for stand first: the search for those is quick.
_PASSWORD = re.compile(
    r"[Pp密口秘私](?i:(?<=p)(?:ass(?:word|wd|phrase|code)|(?<!\wp)(?:wd|in(?: code)?))"
    r"|(?<=密)[码碼钥鑰]|(?<=口)令|(?<=[秘私])[钥鑰])"
    r"(?i:[\"'`*]{0,2}\s{0,2}(?:is|was|for \S{1,40} is|[:=：]|=>|为|是)[:：]?\s{0,3}[\"'`*]{0,2})"
    r"([!-~]{4,80})",
    re.ASCII,
)
_IN_ADDRESS = re.compile(r"://[^\s/:@]{1,64}:([^\s/@:]{3,128})@[A-Za-z0-9\[]")
_BARE = re.compile(r"(?<![A-Za-z0-9+/_=.\-])[A-Za-z0-9+/_\-]{28,200}={0,2}(?![A-Za-z0-9+/_=])")
_LONG = Expression(r"[A-Za-z0-9+/_\-]{28}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_BARE_ENTROPY = 4.2
_RANDOM = "4fJ9xQz2LrT8vBn6MwYc1HdKs7PgEaU3o5Ri0XtZ"
_LIKELY = (
    'For the test use {keyword}_key = "{keyword}_'
    + _RANDOM
    + '" ({keyword}: hT7qLw2Zp9Xv, 日本 é); it is 12.5 % of 3,000 at https://user:pa55w0rd@host/path.\n'
)
"""A line in which every kind of character stands beside a keyword."""

_FRAMES = (
    "Deploy it with {0} in the environment, then tell me whether that was 3 times as quick.\n",
    "First set it in the shell: export TOKEN={0}\nand then start all 12 of the servers again.",
    "Log in with password: {0} and the user name; its API key is {0}, its secret '{0}'.",
)


def _shapes() -> list[str]:
    """Of secrets that are met often; none is one."""
    small, capital = _RANDOM.lower(), _RANDOM.upper()
    digits = "720615934418" * 2
    return [
        "AKIA" + "QZ7RT2LX5VBN3MWY",
        "ghp_" + _RANDOM[:36],
        f"xoxb-{digits[:12]}-{digits[:12]}-{_RANDOM[:24]}",
        f"sk-{_RANDOM[:20]}T3BlbkFJ{_RANDOM[:20]}",
        f"sk_live_{_RANDOM[:24]}",
        "AIza" + _RANDOM[:35],
        f"eyJ{_RANDOM}.eyJ{_RANDOM}.{_RANDOM}",
        f"glpat-{_RANDOM[:20]}",
        f"SG.{_RANDOM[:22]}.{_RANDOM}{_RANDOM[:3]}",
        f"-----BEGIN PRIVATE KEY-----\n{_RANDOM * 4}\n-----END PRIVATE KEY-----",
        f"the api_key={small} or secret: {capital}",
    ]


class Secrets:
    """Detector with gitleaks' rules and three of our own."""

    def __init__(self) -> None:
        by_keyword: dict[str, list[Rule]] = {}
        for rule in read_rules():
            for keyword in rule.keywords:
                by_keyword.setdefault(keyword, []).append(rule)
        self._keywords = list(by_keyword)
        self._by_keyword = by_keyword
        self._present = ExpressionSet(self._keywords, literal=True)

    def prepare(self) -> None:
        """Compile all rules, so that the first texts need not wait for it: 45 ms.

        RE2 builds its machines while it reads: each rule reads a line as it looks for.
        """
        for keyword, rules in self._by_keyword.items():
            line = _LIKELY.format(keyword=keyword).encode()
            for rule in rules:
                for _ in _matches(rule, line):
                    pass
                _is_excepted(rule, line, line)
        texts = [frame.format(shape) for frame in _FRAMES for shape in _shapes()]
        for text in (_LIKELY.format(keyword="password"), *texts):
            for _ in self.find(View(text)):
                pass

    def find(self, view: View) -> Iterator[Finding]:
        """Secrets by rule, passwords by the words before them, keys by their randomness."""
        yield from self._by_rules(view)
        for match in _PASSWORD.finditer(view.text):
            if secret := _spoken(match[1]):
                yield Finding(
                    match.start(1), match.start(1) + len(secret), LABEL, "secret:password", 0.8
                )
        for match in _IN_ADDRESS.finditer(view.text) if "://" in view.text else ():
            if not match[1].startswith(("<", "{", "$", "*")):
                yield Finding(match.start(1), match.end(1), LABEL, "secret:url", 0.9)
        for match in _BARE.finditer(view.text) if _LONG.fits(view.ascii) else ():
            if _is_random(match[0]):
                yield Finding(match.start(), match.end(), LABEL, "secret:entropy", 0.6)

    def _by_rules(self, view: View) -> Iterator[Finding]:
        tried: set[str] = set()
        for index in self._present.fitting(view.lower):
            for rule in self._by_keyword[self._keywords[index]]:
                if rule.id not in tried:
                    tried.add(rule.id)
                    yield from _matches(rule, view.ascii)


def _matches(rule: Rule, data: bytes) -> Iterator[Finding]:
    for start, end, first, last in rule.pattern.matches(data, rule.secret_group):
        secret = data[first:last]
        if not secret or (rule.entropy and entropy(secret) < rule.entropy):
            continue
        if not _is_excepted(rule, data[start:end], secret):
            sure = 0.7 if rule.id == "generic-api-key" else 0.97
            yield Finding(first, last, LABEL, f"secret:{rule.id}", sure)


def _is_excepted(rule: Rule, whole: bytes, secret: bytes) -> bool:
    small = secret.lower()
    return any(
        (pattern is not None and pattern.fits(whole if on_whole else secret))
        or (words is not None and words.fits(small))
        for on_whole, pattern, words in rule.exceptions
    )


def _spoken(candidate: str) -> str:
    """What may be a password, without the sentence's punctuation; empty: a common word."""
    secret = candidate.rstrip("\"'`*.,;:?)]}>")
    kinds = sum(any(map(kind, secret)) for kind in (str.isdigit, str.islower, str.isupper))
    kinds += not secret.isalnum()
    plain = secret.isalpha() or secret.startswith(
        ("<", "{", "[", "$", "*", "(", "%", "os.", "self.")
    )
    return "" if len(secret) < 4 or plain or (kinds < 2 and not secret.isdigit()) else secret


def _is_random(candidate: str) -> bool:
    """Long, of three kinds of characters, no word, path, digest or UUID."""
    digits = sum(map(str.isdigit, candidate))
    capitals = sum(map(str.isupper, candidate))
    smalls = sum(map(str.islower, candidate))
    if min(digits, capitals, smalls) < 3 or candidate.count("/") > 2 or _UUID.search(candidate):
        return False
    return entropy(candidate.encode()) >= _BARE_ENTROPY
