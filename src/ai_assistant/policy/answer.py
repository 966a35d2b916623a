"""Restores a whole answer: text, reasoning and tool calls of every choice, piece by piece."""

import msgspec

from ai_assistant.policy.restore import Restorer, restored
from ai_assistant.policy.vault import Vault
from ai_assistant.protocol.chunks import TokenChunk, ToolCallDelta


class AnswerRestorer:
    """For one answer. After a break, go on from what it handed out; what it held is forgotten."""

    def __init__(self, vault: Vault, *, json_text: bool = False) -> None:
        """`json_text`: the text itself is JSON, as with a schema."""
        self._vault = vault
        self._json_text = json_text
        self._choices: dict[int, _Choice] = {}

    def restore(self, chunk: TokenChunk) -> TokenChunk:
        """The piece as the client may have it; parts of it may come with the next one."""
        if not self._vault.entries:
            return chunk
        if chunk.index not in self._choices:
            self._choices[chunk.index] = _Choice(self._vault, self._json_text)
        return self._choices[chunk.index].restore(chunk)


class _Choice:
    def __init__(self, vault: Vault, json_text: bool) -> None:
        self._vault = vault
        self._text = Restorer(vault, json=json_text)
        self._reasoning = Restorer(vault)
        self._call: tuple[int, Restorer] | None = None

    def restore(self, chunk: TokenChunk) -> TokenChunk:
        text = self._text.feed(chunk.text)
        reasoning = self._reasoning.feed(chunk.reasoning)
        calls = [one for delta in chunk.tool_calls for one in self._delta(delta)]
        # What comes next shows that what was held will not go on.
        if chunk.text or chunk.tool_calls or chunk.finish:
            reasoning += self._reasoning.flush()
        if chunk.tool_calls or chunk.finish:
            text += self._text.flush()
        if chunk.finish:
            calls += self._end_call()
        return msgspec.structs.replace(
            chunk, text=text, reasoning=reasoning, tool_calls=tuple(calls)
        )

    def _delta(self, delta: ToolCallDelta) -> list[ToolCallDelta]:
        before: list[ToolCallDelta] = []
        if self._call is None or self._call[0] != delta.index:
            before = self._end_call()
            self._call = (delta.index, Restorer(self._vault, json=True))
        name = None if delta.name is None else restored(delta.name, self._vault)
        arguments = self._call[1].feed(delta.arguments)
        return [*before, msgspec.structs.replace(delta, name=name, arguments=arguments)]

    def _end_call(self) -> list[ToolCallDelta]:
        """What the running call still holds."""
        if self._call is None:
            return []
        index, restorer = self._call
        self._call = None
        rest = restorer.flush()
        return [ToolCallDelta(index=index, arguments=rest)] if rest else []
