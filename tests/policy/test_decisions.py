"""Who may have what: every combination that the rules can say, and that nothing falls through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy.policy_parts import CLOUD, LAN, MACHINE, PROCESS

from ai_assistant.policy.decide import decide
from ai_assistant.policy.labels import (
    OPAQUE,
    UNCHECKED,
    Destination,
    Facts,
    Labels,
    bound_for,
    destination_of,
)
from ai_assistant.policy.rules import LabelRule, Rules, Source, Target
from ai_assistant.protocol.egress import Departure
from ai_assistant.protocol.offers import Offer

EVERYWHERE = (PROCESS, MACHINE, LAN, CLOUD)
HERE = (Target("process"), Target("machine"))
OPEN = LabelRule(allow=(*HERE, Target("lan"), Target("cloud")))


def actions(labels: Labels, rules: Rules) -> list[str]:
    return [one.action for one in decide(labels, rules, EVERYWHERE)]


def rules(**labels: LabelRule) -> Rules:
    return Rules(unlabelled=OPEN, labels=labels, origin="policy.toml")


def test_without_rules_nothing_leaves() -> None:
    assert actions(Labels(), Rules()) == ["allow", "allow", "refuse", "refuse"]


def test_a_broken_file_lets_nothing_leave() -> None:
    broken = Rules(unlabelled=OPEN, labels={"email": OPEN}, broken="line 3", origin="x")
    decisions = decide(Labels(frozenset({"email"})), broken, EVERYWHERE)
    assert [one.action for one in decisions] == ["allow", "allow", "refuse", "refuse"]
    assert "line 3" in decisions[-1].reason


@pytest.mark.parametrize("label", ["email", "nobody-knows", UNCHECKED, OPAQUE])
def test_a_label_without_a_rule_stays_here(label: str) -> None:
    for labels in (Labels(frozenset({label})), Labels(context=frozenset({label}))):
        assert actions(labels, rules()) == ["allow", "allow", "refuse", "refuse"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (OPEN, ["allow", "allow", "allow", "allow"]),
        (LabelRule(allow=(Target("process"),)), ["allow", "refuse", "refuse", "refuse"]),
        (LabelRule(redact=(Target("cloud"),)), ["allow", "allow", "refuse", "redact"]),
        (LabelRule(redact=(Target("openai", "us"),)), ["allow", "allow", "refuse", "redact"]),
        (LabelRule(redact=(Target("openai", "eu"),)), ["allow", "allow", "refuse", "refuse"]),
        (LabelRule(allow=(Target("*"),)), ["refuse", "refuse", "allow", "allow"]),
        (LabelRule(refuse=True), ["refuse"] * 4),
        (
            LabelRule(allow=(*HERE, Target("lan")), redact=(Target("lan"), Target("cloud"))),
            ["allow", "allow", "allow", "redact"],
        ),
    ],
)
def test_one_label(rule: LabelRule, expected: list[str]) -> None:
    assert actions(Labels(frozenset({"email"})), rules(email=rule)) == expected


def test_a_label_of_the_context_cannot_be_hidden() -> None:
    redacting = rules(finance=LabelRule(redact=(Target("cloud"),)))
    assert actions(Labels(context=frozenset({"finance"})), redacting)[-1] == "refuse"
    assert actions(Labels(text=frozenset({"finance"})), redacting)[-1] == "redact"


def test_the_strictest_term_counts_and_all_are_told() -> None:
    chosen = rules(email=LabelRule(redact=(Target("cloud"),)), card=LabelRule())
    (decision,) = decide(Labels(frozenset({"email", "card"})), chosen, [CLOUD])
    assert decision.action == "refuse"
    assert [(term.label, term.action) for term in decision.terms] == [
        ("", "allow"), ("card", "refuse"), ("email", "redact")]  # fmt: skip
    assert "card" in decision.reason


def test_an_unknown_region_is_in_no_region() -> None:
    there = Destination(name="openai", reach="cloud")
    chosen = Rules(unlabelled=LabelRule(allow=(Target("cloud", "eu"),)), origin="x")
    assert decide(Labels(), chosen, [there])[0].action == "refuse"


LABELS = st.frozensets(st.sampled_from(["email", "card", "x", UNCHECKED, OPAQUE]))


@given(LABELS, LABELS, LABELS, LABELS)
def test_more_labels_never_open_anything(a: frozenset[str], b: frozenset[str], c: frozenset[str],
                                         d: frozenset[str]) -> None:  # fmt: skip
    chosen = rules(email=LabelRule(redact=(Target("cloud"),)), card=OPEN)
    order = {"allow": 0, "redact": 1, "refuse": 2}
    less, more = Labels(a, b), Labels(a, b) | Labels(c, d)
    for before, after in zip(actions(less, chosen), actions(more, chosen), strict=True):
        assert order[after] >= order[before]


def test_who_asks_gives_labels() -> None:
    chosen = Rules(
        sources=(
            Source("finance", keys=("fin-*",), clients=("*Word*",)),
            Source("batch", paths=("/v1/batches",), models=("secret-*",)),
        )
    )
    assert chosen.given(Facts(tenant="Fin-bot")) == {"finance"}
    assert chosen.given(Facts(client="Microsoft Word/16", model="secret-1")) == {"finance", "batch"}
    assert chosen.given(Facts(tenant="other")) == frozenset()
    assert chosen.given(Facts(declared=frozenset({"mine"}))) == {"mine"}


def test_ollamas_cloud_models_are_not_on_this_machine() -> None:
    offer = Offer(provider="ollama", kind="ollama", model="gpt-oss:120b-cloud", names=(),
                  place="machine", region="", host="127.0.0.1", abilities=frozenset())  # fmt: skip
    assert destination_of(offer).reach == "cloud"
    leaving = Departure(request_id="r", tenant="", provider="ollama", model=offer.model,
                        place="machine", region="", host="", path="", body=b"")  # fmt: skip
    assert bound_for(leaving) == destination_of(offer)
