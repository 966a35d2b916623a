"""May this go there? A pure decision, term by term. What no rule names stays on this machine."""

from collections.abc import Sequence

import msgspec

from ai_assistant.policy.labels import OPAQUE, UNCHECKED, Destination, Labels
from ai_assistant.policy.rules import HERE, Action, LabelRule, Rules
from ai_assistant.policy.scan import BUILT_IN

_FROM_WORST: tuple[Action, ...] = ("refuse", "redact", "allow")


class Term(msgspec.Struct, frozen=True):
    """What one label, or the rule for all text, says of one destination."""

    label: str
    """Empty: the rule for all text."""
    action: Action
    reason: str


class Decision(msgspec.Struct, frozen=True):
    """What may be done for one destination; the strictest term counts."""

    destination: Destination
    action: Action
    terms: tuple[Term, ...]

    @property
    def redacts(self) -> frozenset[str]:
        """Labels whose text must be taken out."""
        return frozenset(term.label for term in self.terms if term.action == "redact")

    @property
    def reason(self) -> str:
        """Why it is not simply allowed."""
        worst = [term.reason for term in self.terms if term.action == self.action]
        return "; ".join(dict.fromkeys(worst)) if self.action != "allow" else "allowed"


def decide(
    labels: Labels,
    rules: Rules,
    destinations: Sequence[Destination],
    *,
    regions: Sequence[str] = (),
) -> tuple[Decision, ...]:
    """A decision for every destination, in their order.

    `regions`: the only ones whose clouds will do; empty: those that the rules allow.
    """
    return tuple(_decided(labels, rules, where, regions) for where in destinations)


def _decided(labels: Labels, rules: Rules, where: Destination, regions: Sequence[str]) -> Decision:
    if rules.broken:
        terms = [_term("", LabelRule(), where, f"the rules cannot be read: {rules.broken}")]
    else:
        nowhere = (
            "no rule file lets anything leave this machine"
            if not rules.origin
            else "the rules let no text go there"
        )
        terms = [_term("", rules.unlabelled, where, nowhere)]
    terms += [_of_label(label, labels, rules, where) for label in sorted(labels.names)]
    if _is_outside(where, regions):
        reason = f"its key or the request itself asks for {', '.join(regions)} only"
        terms.append(Term("", "refuse", reason))
    said: set[Action] = {term.action for term in terms}
    action: Action = next(one for one in _FROM_WORST if one in said)
    return Decision(where, action, tuple(terms))


def _of_label(label: str, labels: Labels, rules: Rules, where: Destination) -> Term:
    if label in (UNCHECKED, OPAQUE):
        words = "could not be checked" if label == UNCHECKED else "holds what no detector can read"
        return _term(label, LabelRule(), where, f"the request {words}")
    rule = LabelRule() if rules.broken else rules.labels.get(label)
    if rule is None:
        known = "has no rule" if label in BUILT_IN else "is unknown"
        return _term(label, LabelRule(), where, f"the label {label} {known}")
    if rule.refuse:
        return Term(label, "refuse", f"the rules refuse {label}")
    term = _term(label, rule, where, f"the rules keep {label} from there")
    if term.action == "redact" and label in labels.context:
        return Term(label, "refuse", f"{label} is no matter of single words, so none can be hidden")
    return term


def _is_outside(where: Destination, regions: Sequence[str]) -> bool:
    """In a cloud of another region, or of an unknown one; in a network of another region."""
    if not regions or where.reach in ("process", "machine"):
        return False
    if where.reach == "lan" and not where.region:
        return False
    return where.region.casefold() not in {region.casefold() for region in regions}


def _term(label: str, rule: LabelRule, where: Destination, reason: str) -> Term:
    if any(target.covers(where) for target in rule.allow):
        return Term(label, "allow", f"{label or 'text'} may go there")
    if any(target.covers(where) for target in rule.redact):
        return Term(label, "redact", f"{label or 'text'} goes with placeholders")
    return Term(label, "refuse", reason)


def is_here(where: Destination) -> bool:
    """Whether text stays on this machine."""
    return any(target.covers(where) for target in HERE)
