"""What a request holds: its texts, what was found in them, its labels, the rules that hold."""

import msgspec

from ai_assistant.policy.conversation import Conversation
from ai_assistant.policy.detectors.own import Own
from ai_assistant.policy.detectors.phones import REGIONS
from ai_assistant.policy.findings import Finding
from ai_assistant.policy.labels import OPAQUE, UNCHECKED, Facts, Labels
from ai_assistant.policy.request_text import texts_of
from ai_assistant.policy.rules import Rules
from ai_assistant.policy.rules_file import RulesFile
from ai_assistant.policy.scan import Part, Scan, Scanner


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of one request."""

    parts: tuple[Part, ...]
    findings: tuple[tuple[Finding, ...], ...]
    labels: Labels
    rules: Rules
    failure: str = ""
    regions: tuple[str, ...] = ()
    """The only ones whose clouds it may reach; empty: those that the rules allow."""
    conversation: Conversation = Conversation()

    def __repr__(self) -> str:  # a log must not tell what was found
        return f"Examined({len(self.parts)} texts, labels {sorted(self.labels.names)})"


class Examiner:
    """Reads requests by the rules that hold now; a new scanner for new rules."""

    def __init__(self, rules: RulesFile) -> None:
        self._file = rules
        # Here, so that the first request need not wait for it.
        held = rules.current()
        self._current = (held, scanner_for(held))

    def examine(self, request: msgspec.Struct, facts: Facts) -> Examined:
        """Never raises for what the request holds: what cannot be read becomes a label."""
        rules, scanner = self._now()
        try:
            texts = texts_of(request)
            parts, opaque = texts.parts, texts.opaque
            scan = scanner.scan(parts)
        except RecursionError:
            parts, opaque, scan = (), True, Scan(())
        return _judged(parts, scan, facts, rules, opaque=opaque)

    def examine_text(self, text: str, facts: Facts) -> Examined:
        """The same for one text."""
        rules, scanner = self._now()
        parts = (Part(text),)
        return _judged(parts, scanner.scan(parts), facts, rules, opaque=False)

    def concerns(self, facts: Facts) -> bool:
        """Whether the facts alone give a label, or one is kept even from our own engines."""
        rules, _ = self._now()
        return bool(rules.given(facts)) or any(rule.refuse for rule in rules.labels.values())

    def _now(self) -> tuple[Rules, Scanner]:
        rules = self._file.current()
        if rules is not self._current[0]:
            self._current = (rules, scanner_for(rules))
        return self._current


def _judged(
    parts: tuple[Part, ...],
    scan: Scan,
    facts: Facts,
    rules: Rules,
    *,
    opaque: bool,
) -> Examined:
    """Labels of the findings and of the facts, with those that stick."""
    found = {one.label for own in scan.findings for one in own}
    context = set(rules.given(facts))
    context |= {UNCHECKED} if scan.failure else set()
    context |= {OPAQUE} if opaque else set()
    labels = Labels(frozenset(found), frozenset(context)) | facts.carried
    return Examined(
        parts=parts,
        findings=scan.findings,
        labels=labels,
        rules=rules,
        failure=scan.failure,
        regions=facts.regions,
    )


def scanner_for(rules: Rules) -> Scanner:
    """The detectors that the rules ask for."""
    return Scanner(
        [Own(one.label, one.words, one.patterns) for one in rules.own],
        with_addresses="ip_address" in rules.labels,
        regions=rules.regions or REGIONS,
    )
