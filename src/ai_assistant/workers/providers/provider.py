"""What the owner says of one provider, and whether it can be used as it is said."""

import re
from typing import Any

import msgspec

from ai_assistant.protocol.egress import Place
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.offers import Ability, Price
from ai_assistant.workers.providers.keys import check_source
from ai_assistant.workers.remote.address import Address, read_address
from ai_assistant.workers.remote.deadlines import Deadlines
from ai_assistant.workers.remote.kinds import KINDS, Continues, Kind

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class ProviderModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True,
                    forbid_unknown_fields=True):  # fmt: skip
    """One model there."""

    id: str
    """Its name at the provider."""
    names: tuple[str, ...] = ()
    """The names under which clients ask for it here; none: PROVIDER/ID."""
    context: int | None = None
    """Tokens of prompt and answer."""
    max_output: int = 8192
    """Tokens of an answer, for providers that want to be told (Anthropic)."""
    price: Price | None = None
    """In the place of what is known of it."""
    abilities: tuple[Ability, ...] | None = None
    """In the place of what such servers usually can."""
    continues: Continues | None = None
    """In the place of how such servers usually go on in the middle of an answer."""


class Provider(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True,
               forbid_unknown_fields=True):  # fmt: skip
    """One server or cloud. It holds no key, only where the key is."""

    kind: str = "openai-compatible"
    base_url: str = ""
    """Empty: the usual one of its kind."""
    key: str = ""
    """`env:NAME`, `keyring`, `file:PATH`, or empty: none is needed."""
    region: str = ""
    """Where it computes, in the owner's words, such as `eu` or `cn`."""
    place: Place | None = None
    """None: told by the address; a name that is not an address is a cloud's."""
    models: tuple[ProviderModel, ...] = ()
    enabled: bool = True
    max_requests: int = 64
    """Requests that may run there at once."""
    http2: bool | None = None
    """None: where the address begins with https:// and no proxy is in between."""
    ca_file: str = ""
    """Certificates to trust beside the system's, for servers with one of their own."""
    deadlines: Deadlines = Deadlines()

    def kind_facts(self) -> Kind:
        """What is known of such servers."""
        return KINDS[self.kind]

    def address(self) -> Address:
        """Where it is; raises `InvalidRequest`."""
        return read_address(self.base_url or self.kind_facts().base_url, self.place)


def check(name: str, provider: Provider) -> None:
    """Raise `InvalidRequest` if it cannot be used as it is said."""
    if NAME.fullmatch(name) is None:
        raise InvalidRequest(f"A provider cannot be named {name!r}: use a to z, 0 to 9, hyphens.")
    if provider.kind not in KINDS:
        raise InvalidRequest(f"{name}.kind: {provider.kind!r} is none of {', '.join(KINDS)}.")
    if not (provider.base_url or provider.kind_facts().base_url):
        raise InvalidRequest(f"{name}.base_url: servers of the kind {provider.kind} need one.")
    try:
        address = provider.address()
    except InvalidRequest as error:
        raise InvalidRequest(f"{name}.{error.message}") from None
    if address.place == "cloud" and not address.secure:
        raise InvalidRequest(
            f"{name}.base_url: {address.base} would send everything readable over the network. "
            'Use https://, or set place = "lan" if it is in your own.'
        )
    check_source(name, provider.key)
    _check_figures(name, provider)
    _check_names(name, provider)


def _check_figures(name: str, provider: Provider) -> None:
    limits: dict[str, Any] = msgspec.structs.asdict(provider.deadlines)
    for field, seconds in limits.items():
        if not 0 < seconds <= 86_400:
            raise InvalidRequest(f"{name}.deadlines.{field} must be between 0 and 86400 seconds.")
    if not 1 <= provider.max_requests <= 10_000:
        raise InvalidRequest(f"{name}.max_requests must be between 1 and 10000.")
    for model in provider.models:
        if model.price and min(model.price.input, model.price.output) < 0:
            raise InvalidRequest(f"{name}: the price of {model.id} is below 0.")


def _check_names(name: str, provider: Provider) -> None:
    ids = [model.id for model in provider.models]
    if not all(ids):
        raise InvalidRequest(f"{name}.models: a model has an empty id.")
    if twice := next((one for one in ids if ids.count(one) > 1), None):
        raise InvalidRequest(f"{name}.models: {twice!r} stands there twice.")
