"""What the owner says of who answers: `[routing]` and `[routes.NAME]` in the settings file."""

import difflib
import re
from typing import Annotated, cast

import msgspec

from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.routing import Objective, Wishes

AUTO = "auto"
"""The name of any model that is able."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}")
_TAKEN = (AUTO, "default")
_HEAVIEST = 1e6
_CHOICES = ("order", "latency", "cost", "quality", "balanced")

Limit = Annotated[float, msgspec.Meta(ge=0)]
Points = Annotated[float, msgspec.Meta(ge=0, le=100)]


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One model of a set."""

    model: str
    """A model here, a name of one elsewhere, PROVIDER/MODEL, or `auto`."""
    weight: float = 0.0
    """Its share of the requests; none has one: the order counts."""


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True,
            omit_defaults=True):  # fmt: skip
    """A name of the owner's, and who answers to it."""

    models: tuple[str | Member, ...]
    objective: Objective = "order"
    fallback: tuple[str, ...] = ()
    """Who answers when none of the models can: no network, all of them failing."""
    while_loading: bool = False
    """Whoever is ready may answer while the chosen model is being loaded."""
    max_price: Limit | None = None
    max_price_per_million: Limit | None = None
    max_ttft: Limit | None = None
    regions: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[Member, ...]:
        """The models with their weights."""
        return tuple(Member(one) if isinstance(one, str) else one for one in self.models)

    @property
    def limits(self) -> Wishes:
        """What holds for every request by this name."""
        return Wishes(
            max_price=self.max_price,
            max_price_per_million=self.max_price_per_million,
            max_ttft=self.max_ttft,
            regions=self.regions,
        )


class RoutingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all names."""

    objective: Objective = "balanced"
    """Of the name `auto`."""
    watts: float = 0.0
    """What this machine takes more when it computes."""
    kwh_price: float = 0.0
    """Dollars; with `watts` the price of what models here answer."""
    quality: dict[str, Points] = {}
    """Points from 0 to 100 for models, by name; they are guessed where none are given."""
    routes: dict[str, Route] = {}
    """`[routes.NAME]`."""

    @property
    def energy(self) -> float:
        """Dollars for a second of computing here."""
        return self.watts / 1000 * self.kwh_price / 3600


PLAIN = Route(models=())
"""A model's own name."""


def read_routes(tree: object) -> dict[str, Route]:
    """`[routes]` of the settings file; raises `InvalidRequest` in the owner's words."""
    if not isinstance(tree, dict):
        raise InvalidRequest("routes must be sections, such as [routes.fast]")
    return {name: _read(name, given) for name, given in cast("dict[str, object]", tree).items()}


def _read(name: str, given: object) -> Route:
    if _NAME.fullmatch(name) is None:
        raise InvalidRequest(f"routes: {name!r} cannot be a name: use letters, digits and . _ : -")
    if name in _TAKEN:
        raise InvalidRequest(f"routes.{name}: this name has a meaning already; choose another")
    _known_keys(name, given)
    try:
        route = msgspec.convert(given, Route)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"routes.{name}: {_in_words(str(error))}") from None
    _check(name, route)
    return route


def _known_keys(name: str, given: object) -> None:
    if not isinstance(given, dict):
        raise InvalidRequest(f"routes.{name} must be a section: [routes.{name}]")
    known = [field.name for field in msgspec.structs.fields(Route)]
    for key in cast("dict[str, object]", given):
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            meant = f"; did you mean {close[0]}?" if close else f"; there is {', '.join(known)}"
            raise InvalidRequest(f"routes.{name}: there is no key {key}{meant}")


def _in_words(problem: str) -> str:
    text, _, place = problem.partition(" - at `$.")
    where = place.rstrip("`").replace("[...]", "")
    if where == "objective":
        return f"objective must be one of {', '.join(_CHOICES)}"
    if where.startswith("models"):
        return 'models must be a list of names or of { model = "NAME", weight = 2 }'
    if "missing required field `models`" in text:
        return 'say who answers, such as models = ["starter"]'
    kinds = {"fallback": "a list of names", "regions": "a list of names"}
    usual = "true or false" if where == "while_loading" else "a number of at least 0"
    return f"{where} must be {kinds.get(where, usual)}"


def _check(name: str, route: Route) -> None:
    if not route.models:
        raise InvalidRequest(f'routes.{name}: say who answers, such as models = ["starter"]')
    for member in route.members:
        if not member.model:
            raise InvalidRequest(f"routes.{name}: a model has an empty name")
        if not 0 <= member.weight <= _HEAVIEST:
            raise InvalidRequest(f"routes.{name}: the weight of {member.model} must be above 0")
    weighted = [member for member in route.members if member.weight]
    if weighted and len(weighted) < len(route.members):
        raise InvalidRequest(f"routes.{name}: give every model a weight, or none")
    if weighted and route.objective != "order":
        raise InvalidRequest(f"routes.{name}: either weights or an objective decide, not both")
