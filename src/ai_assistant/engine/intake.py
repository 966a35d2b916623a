"""From a request to sequences: template, tokens, limits, grammar. Runs beside the loop."""

import random
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

from msgspec import structs

from ai_assistant.engine.channel import Asked
from ai_assistant.engine.kernels import Model
from ai_assistant.engine.output import TextOutput
from ai_assistant.engine.reading import known_tokens, read
from ai_assistant.engine.sampling import Sampler
from ai_assistant.engine.sequence import Prepared, Sequence, length_limit, replay
from ai_assistant.engine.spelling import Names, Speller, tokens_of
from ai_assistant.engine.text.formats import OutputParser, Plain, choose_parser
from ai_assistant.engine.text.grammar import output_grammar
from ai_assistant.engine.text.mask import TokenMask
from ai_assistant.engine.text.mask import Vocabulary as GrammarVocabulary
from ai_assistant.engine.text.template import ChatTemplate
from ai_assistant.kvcache.blocks import common_prefix
from ai_assistant.protocol.engine_plan import Pin
from ai_assistant.protocol.errors import (
    AssistantError,
    ContextLengthExceeded,
    InvalidRequest,
    UnsupportedFeature,
)
from ai_assistant.protocol.frames import Embed, Failed, Tokenize, Tokenized
from ai_assistant.protocol.requests import (
    ChatMessage,
    ChatPrompt,
    GenerateRequest,
    Prompt,
    Sampling,
    TextPrompt,
)

_DEFAULTS = {
    "temperature": ("general.sampling.temp", float),
    "top_k": ("general.sampling.top_k", int),
    "top_p": ("general.sampling.top_p", float),
    "min_p": ("general.sampling.min_p", float),
    "repetition_penalty": ("general.sampling.penalty_repeat", float),
}
"""Our names and the keys under which a GGUF file recommends values (llama-arch.cpp)."""


class Intake:
    """Prepares the requests for one model."""

    def __init__(
        self, model: Model, context_limit: int, digest: Callable[[], str] = lambda: ""
    ) -> None:
        """`digest`: of the model's file, for answers that go from node to node."""
        self._digest = digest
        self.names = Names(model.vocabulary)
        """Of the tokens, once an answer could go to another node."""
        self._vocabulary = vocabulary = model.vocabulary
        self.limit = context_limit
        """Tokens of one sequence."""
        self._bos = vocabulary.text(vocabulary.bos)
        self._template = ChatTemplate(
            model.chat_template, self._bos, vocabulary.text(vocabulary.eos)
        )
        self._defaults = {
            name: kind(model.metadata[key])
            for name, (key, kind) in _DEFAULTS.items()
            if key in model.metadata
        }

    @cached_property
    def _grammar_vocabulary(self) -> GrammarVocabulary:
        """Made with the first grammar: it takes about half a second."""
        vocabulary = self._vocabulary
        return GrammarVocabulary(
            vocabulary.all_pieces(),
            vocabulary.control,
            sorted(vocabulary.ends) or [vocabulary.eos],
            lambda text: vocabulary.tokenize(
                text.decode("utf-8", "replace"), add_special=False, parse_special=False
            ),
        )

    def pinned(self, pins: Iterable[Pin]) -> Iterator["array[int]"]:
        """The tokens with which every chat with such a system prompt begins."""
        for pin in pins:
            system = ChatMessage(role="system", content=pin.system)
            one, other = (
                self._tokens(
                    ChatPrompt(messages=(system, ChatMessage(role="user", content=question)))
                )[1]
                for question in ("a", "?")
            )
            yield one[: common_prefix(one, other, 0)]

    def prepare(self, order: Asked) -> Prepared | Tokenized | Failed:
        """The request's sequences or tokens, or the reason why there are none."""
        try:
            if isinstance(order, Embed):
                raise UnsupportedFeature(
                    "This model writes text and gives no embeddings: ask an embedding model."
                )
            if isinstance(order, Tokenize):
                found = read(order.request, self._vocabulary, self._tokens)
                return Tokenized(order.request.request_id, found)
            return Prepared(self._sequences(order.request))
        except AssistantError as error:
            return Failed(order.request.request_id, error.info())
        except Exception as error:  # noqa: BLE001 - a request must never end in silence
            info = InvalidRequest(f"The request could not be prepared: {error}").info()
            return Failed(order.request.request_id, info)

    def _sequences(self, request: GenerateRequest) -> list[Sequence]:
        text, tokens = self._tokens(request.prompt)
        self._check_length(tokens)
        if request.partial is not None and (request.partial.tokens or request.partial.spelled):
            return self._from_the_middle(request, text, tokens)
        if request.spell and request.sampling.seed is None:
            request = _seeded(request, random.getrandbits(31))
        return self._choices(request, text, {n: array("i", tokens) for n in range(request.n)})

    def again(
        self, request: GenerateRequest, prompts: "Mapping[int, array[int]]"
    ) -> list[Sequence]:
        """The sequences of a request that began in another engine, with the prompts as they were
        read there, by choice. Raises `AssistantError`."""
        return self._choices(request, self._tokens(request.prompt)[0], prompts)

    def _from_the_middle(
        self, request: GenerateRequest, text: str, prompt: "array[int]"
    ) -> list[Sequence]:
        """Of an answer that began elsewhere, by this very model: behind its last token."""
        partial = request.partial
        assert partial
        if request.n > 1:
            raise InvalidRequest("Only one answer can be continued.", param="n")
        if partial.spelled:
            answer = tokens_of(partial.spelled, self.names, self._digest)
            request = _seeded(request, partial.spelled.seed)
        else:
            answer = known_tokens(partial.tokens, self._vocabulary, "partial")
        self._check_length(prompt + answer)
        made = self._choices(request, text, {0: prompt})
        replay(made[0], answer)
        made[0].sampler.skip(len(answer))
        return made

    def _choices(
        self, request: GenerateRequest, text: str, prompts: "Mapping[int, array[int]]"
    ) -> list[Sequence]:
        chat = request.prompt if isinstance(request.prompt, ChatPrompt) else None
        mask = self._mask(request, chat, text)
        sampling = self._resolve(request.sampling)
        return [
            Sequence(
                request,
                index,
                tokens,
                length_limit(request, len(tokens), self.limit),
                Sampler(sampling, index=index, mask=mask.copy() if mask else None),
                TextOutput(
                    self._vocabulary,
                    self._parser(chat, text),
                    request.stop,
                    one_call=chat is not None and not chat.parallel_tool_calls,
                    speller=self._speller(request),
                ),
            )
            for index, tokens in prompts.items()
        ]

    def _speller(self, request: GenerateRequest) -> Speller | None:
        if not request.spell or request.n > 1:
            return None
        self.names.begin()
        return Speller(self.names, self._digest(), request.sampling.seed)

    def _mask(
        self, request: GenerateRequest, chat: ChatPrompt | None, text: str
    ) -> TokenMask | None:
        if request.format.kind == "text" and not (chat and chat.tools):
            return None
        grammar = output_grammar(
            request.format,
            chat,
            template_source=self._template.source,
            rendered=text,
            specials=self._grammar_vocabulary.specials,
        )
        return TokenMask(grammar, self._grammar_vocabulary) if grammar else None

    def _parser(self, chat: ChatPrompt | None, text: str) -> OutputParser | None:
        parser = choose_parser(self._template.source, chat, text)
        return None if isinstance(parser, Plain) else parser

    def _tokens(self, prompt: Prompt) -> tuple[str, "array[int]"]:
        if isinstance(prompt, ChatPrompt):
            text = self._template.render(prompt)
            begins = bool(self._bos) and text.startswith(self._bos)
            ids = self._vocabulary.tokenize(text, add_special=not begins, parse_special=True)
            return text, array("i", ids)
        if isinstance(prompt, TextPrompt):
            ids = self._vocabulary.tokenize(prompt.text, add_special=True, parse_special=True)
            return prompt.text, array("i", ids)
        return "", known_tokens(prompt.tokens, self._vocabulary, "prompt")

    def _check_length(self, tokens: "array[int]") -> None:
        if not tokens:
            raise InvalidRequest("The prompt is empty: give it at least one token.", param="prompt")
        if len(tokens) >= self.limit:
            raise ContextLengthExceeded(
                f"The prompt has {len(tokens)} tokens; this model's context holds {self.limit} "
                "with the answer. Shorten the conversation or serve the model with a larger "
                "--context.",
                param="messages",
            )

    def _resolve(self, sampling: Sampling) -> Sampling:
        """What the client left open is what the model's file recommends."""
        values = {name: getattr(sampling, name) for name in sampling.__struct_fields__}
        for name, recommended in self._defaults.items():
            if values[name] is None:
                values[name] = recommended
        return Sampling(**values)


def _seeded(request: GenerateRequest, seed: int | None) -> GenerateRequest:
    """With these random numbers, whatever node goes on with them."""
    return structs.replace(request, sampling=structs.replace(request.sampling, seed=seed))
