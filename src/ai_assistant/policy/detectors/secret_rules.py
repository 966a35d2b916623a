"""The rules of gitleaks, read from its own file: expressions, keywords, entropy, allow-lists.

`rulesets/gitleaks.toml` is the project's file, unchanged; a newer one can take its place.
"""

import math
import tomllib
from collections import Counter
from functools import cache, cached_property
from importlib.resources import files

import msgspec

from ai_assistant.policy.expressions import Expression, escaped

_END = "(?:[\\x60'\"\\s;]|\\\\[nr]|$)"
"""What gitleaks wants behind a secret: source code's, too narrow for prose."""
_END_IN_PROSE = r"(?:[^\w+/=-]|\z)"


class Allowed(msgspec.Struct, frozen=True, rename="camel"):
    """What looks like a secret and is none."""

    regexes: tuple[str, ...] = ()
    regex_target: str = "secret"
    stopwords: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


class Rule(msgspec.Struct, rename="camel", dict=True):
    """One sort of secret; compiled when it is first needed."""

    id: str
    regex: str = ""
    keywords: tuple[str, ...] = ()
    entropy: float = 0.0
    secret_group: int = 0
    allowlists: tuple[Allowed, ...] = ()

    @cached_property
    def pattern(self) -> Expression:
        """Compiled."""
        return Expression(self.regex.replace(_END, _END_IN_PROSE))

    @cached_property
    def exceptions(self) -> tuple[tuple[bool, Expression | None, Expression | None], ...]:
        """For each allow-list: whether it looks at the whole match, its pattern, its words."""
        return tuple(
            (
                one.regex_target in ("match", "line"),
                _any_of(one.regexes),
                _any_of(tuple(map(escaped, one.stopwords))),
            )
            for one in self.allowlists
        )


class _Ruleset(msgspec.Struct, frozen=True):
    rules: tuple[Rule, ...]
    allowlist: Allowed


def read_rules() -> tuple[Rule, ...]:
    """The rules that look at text; everyone's allow-list joins each rule's own."""
    text = files("ai_assistant.policy").joinpath("rulesets/gitleaks.toml").read_text("utf-8")
    found = msgspec.convert(tomllib.loads(text), _Ruleset)
    shared = Allowed(regexes=found.allowlist.regexes, stopwords=found.allowlist.stopwords)
    return tuple(
        msgspec.structs.replace(rule, allowlists=(*rule.allowlists, shared))
        for rule in found.rules
        if rule.regex and rule.keywords
    )


@cache
def _any_of(patterns: tuple[str, ...]) -> Expression | None:
    """One for all rules: everyone's allow-list is large."""
    return Expression("|".join(f"(?:{one})" for one in patterns)) if patterns else None


def entropy(text: bytes) -> float:
    """Shannon's, in bits per character."""
    size = len(text)
    return -sum(count / size * math.log2(count / size) for count in Counter(text).values())
