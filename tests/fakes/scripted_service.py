"""A node whose answers depend on the words of the question: what the console's tests talk to."""

import asyncio
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from tests.devices.machines import profile_of
from tests.fakes.fake_service import FakeService, Step

from ai_assistant.console.routes import console_routes
from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.server import new_loop, serve
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.chunks import TokenChunk, Usage
from ai_assistant.protocol.errors import EngineDied, ModelLoading
from ai_assistant.protocol.requests import ChatPrompt, GenerateRequest
from ai_assistant.protocol.status import EngineStatus, ModelInfo, ModelStatus, NodeStatus
from ai_assistant.store.conversations import Conversations

CODE = """Here is a small function that counts the words of a text:

```python
from collections import Counter


def count_words(text: str) -> Counter[str]:
    \"\"\"How often each word occurs, without regard to case.\"\"\"
    return Counter(word.strip(".,;!?").lower() for word in text.split())


print(count_words("The sea, the calm sea.").most_common(2))
```

It prints `[('the', 2), ('sea', 2)]`. Three things to know:

1. **Case** is ignored, since every word is lowered.
2. *Punctuation* at either end is removed.
3. Words with an apostrophe stay whole.

| input | words | distinct |
|:--|--:|--:|
| `The sea, the calm sea.` | 5 | 3 |
| `One` | 1 | 1 |
"""
XSS = (
    'Look: <img src=x onerror="window.hacked=1"><script>window.hacked=2</script>\n\n'
    "[link](javascript:window.hacked=3) ![pixel](https://evil.example/p.png) "
    '<a href="https://ok.example" onclick="window.hacked=4">ok</a>\n\n'
    '```html\n<svg onload="window.hacked=5"></svg>\n```\n\n<svg><style><img src=x onerror=alert(1)>'
)
STORY = (
    "从前，一只勇敢的小猫住在一个小农场里。有一天，小猫想要找到一只大风筝。\n\n"
    "这时，一只小狐狸走了过来，告诉它一条近路。很快，它们一起找到了风筝。"
)


def starter(**changes: object) -> ModelStatus:
    """The bundled model, at work."""
    info = ModelInfo(
        id="starter", name="Ember", path="/models/starter.gguf", size_bytes=41_400_000,
        architecture="llama", quantisation="Q8_0", parameters=38_000_000, context_train=2048,
    )  # fmt: skip
    engine = EngineStatus(
        pid=42, slots=8, running=3, waiting=1, parked=0, context_limit=2048, cells_total=16384,
        cells_used=6900, cells_retained=2650, prompt_tokens=48_210, cached_tokens=30_977,
        generated_tokens=91_422, prefill_tokens_per_second=3120.0,
        decode_tokens_per_second=412.0, steps=120_331, decode_ms_mean=2.31, python_ms_mean=0.14,
        memory_bytes=212_000_000, threads=1,
    )  # fmt: skip
    whole = ModelStatus(model=info, state="ready", default=True, engine=engine)
    return msgspec.structs.replace(whole, **changes)


def big(**changes: object) -> ModelStatus:
    """A real model, not loaded yet."""
    info = ModelInfo(
        id="qwen3-4b-instruct", name="Qwen3 4B", path="/models/q.gguf", size_bytes=2_500_000_000,
        architecture="qwen3", quantisation="Q4_K_M", parameters=4_020_000_000,
        context_train=262_144,
    )  # fmt: skip
    return msgspec.structs.replace(ModelStatus(model=info, state="unloaded"), **changes)


def spoken(text: str, pause: float, *, reasoning: str = "") -> list[Step]:
    """Word by word, with a pause before each."""
    words = re.findall(r"\s*\S+|\s+$", text)
    steps: list[Step] = []
    for thought in re.findall(r"\s*\S+", reasoning):
        steps += [pause, TokenChunk(reasoning=thought)]
    for word in words:
        steps += [pause, TokenChunk(text=word)]
    usage = Usage(prompt_tokens=64, completion_tokens=len(words), cached_tokens=40)
    return [*steps, TokenChunk(finish="stop", usage=usage)]


@dataclass
class ScriptedService(FakeService):
    """Answers by the last question; `loads` is how often a model says that it is loading."""

    models: tuple[ModelStatus, ...] = (starter(), big())
    loads: int = 0
    beats: int = field(default=0)

    def status(self) -> NodeStatus:
        self.beats += 1
        return NodeStatus(
            version="0.1.0", uptime_seconds=93_784.0 + self.beats, pid=4021,
            memory_bytes=161_000_000, models=self.models,
        )  # fmt: skip

    def _steps(self, request: GenerateRequest) -> Sequence[Step]:
        assert isinstance(request.prompt, ChatPrompt)
        question = request.prompt.messages[-1].content or ""
        if self.loads:
            self.loads -= 1
            return [ModelLoading("The model is being loaded.", retry_after=1, progress=0.4)]
        return answer_to(question)


def answer_to(question: str) -> list[Step]:
    """The script for a question."""
    match question.split()[0].lower():
        case "code":
            return spoken(CODE, 0.002)
        case "xss":
            return spoken(XSS, 0.002)
        case "slow":
            return spoken("word " * 400, 0.03)
        case "long":
            return spoken(("A paragraph of some words.\n\n" * 5 + CODE) * 12, 0.0)
        case "think":
            return spoken("It is **four**.", 0.02, reasoning="Two and two. That makes four.")
        case "die":
            return [*spoken("The beginning of an answer", 0.01)[:-1], EngineDied("It died.")]
        case "refuse":
            return [EngineDied("The engine ended; it is being restarted.")]
        case "我想听小猫的故事。":
            return spoken(STORY, 0.005)
        case _:
            return spoken(f"You said: {question}", 0.005)


class ConsoleNode:
    """The gateway with the console, on a real port, in a thread beside the test."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.service = ScriptedService()
        self.conversations = Conversations(folder)
        self.url = ""
        self._settings = GatewaySettings(**{"port": 0, "load_wait_seconds": 0.0, **settings})  # pyright: ignore[reportArgumentType]
        self._ready = threading.Event()
        self.profile = profile_of("laptop-i7-1370p")
        """The machine that the console shows."""
        self._loop = new_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self.conversations.close()

    def _run(self) -> None:
        routes = console_routes(self.conversations, lambda: self.profile)
        app = build_app(self.service, self._settings, mounts=routes)
        serving = serve(app, self._settings, on_ready=self._note, stop=self._stop)
        self._loop.run_until_complete(serving)
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def _note(self, url: str) -> None:
        self.url = url
        self._ready.set()
