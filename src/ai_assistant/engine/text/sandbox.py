"""Jinja as chat templates know it, for templates of strangers: sandboxed and bounded."""

import json
import re
from collections.abc import Iterable, Iterator, Sized
from contextvars import ContextVar
from datetime import datetime
from typing import Any, NoReturn, cast

from jinja2 import Template, nodes, pass_context
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_OUTPUT = 16 << 20
"""Characters that one rendering may give; also of any text on the way there."""
MAX_STEPS = 10_000_000
"""Turns of all loops of one rendering."""

FAILURES = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a template that does not fit its data may raise."""


class Refused(TemplateError):
    """The template itself called `raise_exception`."""


class TooMuch(TemplateError):
    """The rendering is over a limit."""


_WIDE = re.compile(r"\d{6}|\*")

_steps: ContextVar[list[int]] = ContextVar("_steps")


class _Counted:
    """An iterable that counts its turns against the rendering's budget."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Any]:
        budget = _steps.get()
        for item in self._items:
            budget[0] -= 1
            if budget[0] < 0:
                raise TooMuch("the template's loops do not end in time")
            yield item

    def __len__(self) -> int:
        return len(cast("Sized", self._items))  # a TypeError makes Jinja count for itself


@pass_context  # keeps Jinja from running them at compile time
def _counted(_context: Context, items: Iterable[Any]) -> _Counted:
    return _Counted(items)


@pass_context
def _joined(_context: Context, parts: Iterable[Any]) -> str:
    return _bounded("".join(map(str, parts)))


def _bounded(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_OUTPUT:
        raise TooMuch(f"the template writes more than {MAX_OUTPUT:,} characters")
    return value


class _Bounding(NodeTransformer):
    """Puts the counters into a template's loops and concatenations."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.iter = _filter(cast("nodes.Expr", node.iter), "_counted")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "_joined")


def _filter(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Generation(Extension):
    """`{% generation %}` marks what a trainer learns from; here it only holds its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """The names, filters and white space rules of the `transformers` library."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _Generation],
        )
        filters = cast("dict[str, Any]", self.filters)
        filters |= {"tojson": _to_json, "from_json": json.loads}
        filters |= {"_counted": _counted, "_joined": _joined, "format": _format}
        del filters["center"]  # a text of any width from a few characters
        names = cast("dict[str, Any]", self.globals)
        names |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return _Bounding().visit(super()._parse(source, name, filename))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An operator, unless its result is out of all proportion."""
        if operator in {"*", "**"}:
            _check_product(operator, left, right)
        if operator == "%":
            _check_widths(left)
        return _bounded(super().call_binop(context, operator, left, right))

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A call, unless it asks for a text of enormous width."""
        if any(isinstance(argument, int) and argument > MAX_OUTPUT for argument in args):
            raise TooMuch("the template uses a number that is too large")
        if getattr(obj, "__name__", "").startswith("format"):
            method = getattr(obj, "__wrapped__", obj)  # the sandbox wraps it
            _check_widths(getattr(method, "__self__", None))
        return _bounded(super().call(context, obj, *args, **kwargs))


def render_bounded(code: Template, variables: dict[str, Any]) -> str:
    """The template's text; raises one of `FAILURES`."""
    token = _steps.set([MAX_STEPS])
    parts: list[str] = []
    size = 0
    try:
        for part in code.generate(variables):
            size += len(part)
            if size > MAX_OUTPUT:
                raise TooMuch(f"the template writes more than {MAX_OUTPUT:,} characters")
            parts.append(part)
    finally:
        _steps.reset(token)
    return "".join(parts)


def _check_product(operator: str, left: Any, right: Any) -> None:
    if operator == "**" and (abs(left) > 1 << 32 or abs(right) > 64):
        raise TooMuch("the template computes a number that is too large")
    for factor, other in ((left, right), (right, left)):
        if (
            isinstance(factor, Sized)
            and isinstance(other, int)
            and len(factor) * other > MAX_OUTPUT
        ):
            raise TooMuch("the template repeats a text too often")


def _check_widths(pattern: Any) -> None:
    if isinstance(pattern, str) and _WIDE.search(pattern):
        raise TooMuch("the template pads a text too far")


def _format(pattern: str, *values: Any) -> str:
    _check_widths(pattern)
    return _bounded(str(pattern) % values)


def _raise_exception(message: str) -> NoReturn:
    raise Refused(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
        default=list,  # what a filter such as `map` gives
    )
