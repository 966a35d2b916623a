"""What a client asks, in one vocabulary for every wire format. Validated once, by the gateway."""

from enum import IntEnum
from typing import Any, Literal

import msgspec

from ai_assistant.protocol.routing import Wishes
from ai_assistant.protocol.spelling import Spelled


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that the model made in an earlier turn. `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn. Content parts are already joined to one text."""

    role: str
    content: str | None = None
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A function that the model may call. `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool = False


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether the model may, must or must not call; `name` asks for one function."""

    mode: Literal["auto", "none", "required"] = "auto"
    name: str | None = None


class ChatPrompt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="chat"):
    """A conversation, rendered by the model's own template."""

    messages: tuple[ChatMessage, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True
    template_variables: dict[str, Any] = {}
    """Extra names for the template, such as `enable_thinking` or `reasoning_effort`."""


class TextPrompt(msgspec.Struct, frozen=True, tag="text"):
    """Raw text, no template."""

    text: str


class TokenPrompt(msgspec.Struct, frozen=True, tag="tokens"):
    """Token ids, as they are."""

    tokens: tuple[int, ...]


Prompt = ChatPrompt | TextPrompt | TokenPrompt


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the next token is drawn. None means: what the model's file recommends."""

    temperature: float | None = None
    top_k: int | None = None
    """0 keeps all."""
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    """Multiplicative, over the last 64 tokens (Keskar et al. 2019); 1 is off."""
    presence_penalty: float = 0.0
    """Subtracted once for each token that the output holds (OpenAI)."""
    frequency_penalty: float = 0.0
    """Subtracted for each time that the output holds a token (OpenAI)."""
    seed: int | None = None
    logit_bias: dict[int, float] = {}


class OutputFormat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the output must look like. `schema` goes with json_schema, `grammar` with the others."""

    kind: Literal["text", "json_object", "json_schema", "lark", "regex"] = "text"
    schema: dict[str, Any] | None = None
    grammar: str | None = None


class Partial(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an answer said before it broke off; whoever takes over goes on right behind it."""

    text: str = ""
    reasoning: str = ""
    tool_calls: bool = False
    """It had begun to call a function."""
    generated: int = 0
    """Tokens so far; they count against `max_tokens`."""
    tokens: tuple[int, ...] = ()
    """Their ids, where they are known: of the same model they continue exactly."""
    spelled: Spelled | None = None
    """The same for another node: of the same model it finds the ids."""


class Priority(IntEnum):
    """Lower goes first."""

    INTERACTIVE = 0
    NORMAL = 1
    BATCH = 2


class Bounds(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a key says of everything that it asks; the owner's rules can only be stricter."""

    labels: tuple[str, ...] = ()
    """Labels that all of its requests have, whatever is in them."""
    regions: tuple[str, ...] = ()
    """The only regions whose clouds its text may reach; empty: those that the rules allow."""


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a request came, beside whose it is: what the owner's rules may look at.

    Made in one place, `gateway/origin.py`. It never leaves this machine.
    """

    endpoint: str = ""
    """The path, such as `/v1/chat/completions`."""
    client: str = ""
    """As the client names itself, the `User-Agent`."""
    conversation: str = ""
    """Its id, where the client gives one."""
    bounds: Bounds = Bounds()
    """Of the key and of the request itself."""
    job: str = ""
    """The batch that it is a line of."""
    spill: bool = False
    """A line of a batch that is late: it may go to a cloud although a model here would do it."""


class GenerateRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens, please."""

    request_id: str
    model: str
    prompt: Prompt
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    """None: until the model ends or the context is full."""
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    """None: off; k: the chosen token and the k most likely ones (0 to 20)."""
    format: OutputFormat = OutputFormat()
    priority: Priority = Priority.NORMAL
    tenant: str = ""
    """Whose it is. Cached prefixes stay within a tenant; turns are shared fairly between them."""
    weight: float = 1.0
    """The tenant's share against that of the others in the same class."""
    ignore_eos: bool = False
    """Go on after the end token, to `max_tokens`: for benchmarks."""
    partial: Partial | None = None
    """Yield only what comes after this; who cannot raises `CannotContinue`."""
    spell: bool = False
    """Tell the tokens of each piece too, and of leaving: somebody else may go on with this."""
    wishes: Wishes | None = None
    """What the client, or its key, wishes of whoever answers."""
    origin: Origin = Origin()


class TokenizeRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The prompt as the model reads it, please; nothing is generated."""

    request_id: str
    model: str
    prompt: Prompt
    add_special: bool = True
    """Put the model's own begin token before a text."""
    parse_special: bool = True
    """Read the names of control tokens in a text as these tokens."""
    pieces: bool = False
    """Give the bytes of each token, too."""
    priority: Priority = Priority.NORMAL
    tenant: str = ""
    wishes: Wishes | None = None
    """Only models that a key may use and regions count."""
    origin: Origin = Origin()


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Vectors, please: one for each input."""

    request_id: str
    model: str
    inputs: tuple[TextPrompt | TokenPrompt, ...]
    query: str | None = None
    """Of a reranking model: how well each input answers this, as a vector of one number."""
    priority: Priority = Priority.NORMAL
    tenant: str = ""
    wishes: Wishes | None = None
    """As of an answer."""
    origin: Origin = Origin()
