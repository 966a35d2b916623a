"""An engine goes on in the middle of an answer whose tokens are known."""

import pytest
from msgspec import structs
from tests.engine.conftest import MakeBench
from tests.engine.moving_tools import Heard
from tests.engine.test_engine import chat

from ai_assistant.engine.sequence import Prepared
from ai_assistant.protocol.frames import Failed, Generate
from ai_assistant.protocol.requests import (
    GenerateRequest,
    OutputFormat,
    Partial,
    Sampling,
    TextPrompt,
)


@pytest.mark.parametrize(
    "form", [OutputFormat(), OutputFormat(kind="regex", grammar="[a-e]{6} [0-9]{6} (yes|no)!")]
)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_answer_with_known_tokens_goes_on_exactly(
    steady_bench: MakeBench, form: OutputFormat, temperature: float
) -> None:
    request = GenerateRequest(
        request_id="whole", model="m", prompt=TextPrompt(chat("Hello!")), format=form,
        max_tokens=24, sampling=Sampling(temperature=temperature, seed=3, presence_penalty=0.3),
        ignore_eos=form.kind == "text",
    )  # fmt: skip
    made = steady_bench(speculation=False, retained=0)
    Heard(made)
    intake = made.engine.intake
    assert intake
    whole = intake.prepare(Generate(request))
    assert isinstance(whole, Prepared)
    made.orders.arrivals.put(whole)
    text = made.run().text("whole")
    sequence, vocabulary = whole.sequences[0], made.model.vocabulary
    for known in (1, 5, 9):
        tokens = tuple(sequence.tokens[sequence.prompt_length :][:known])
        partial = Partial(generated=known, tokens=tokens)
        rest = structs.replace(request, request_id=f"rest{known}", partial=partial)
        made.orders.arrivals.put(intake.prepare(Generate(rest)))
        made.run()
        assert text.endswith(made.collector.text(f"rest{known}"))
        usage, all_of_it = made.collector.usage(f"rest{known}"), made.collector.usage("whole")
        assert usage.completion_tokens == all_of_it.completion_tokens - known
        assert usage.prompt_tokens == all_of_it.prompt_tokens + known
        known_words = (token for token in tokens if token not in vocabulary.control)
        said = b"".join(map(vocabulary.piece, known_words)).decode()
        assert said + made.collector.text(f"rest{known}") == text


def test_several_answers_or_unknown_tokens_cannot_be_continued(bench: MakeBench) -> None:
    made = bench()
    Heard(made)
    assert made.engine.intake
    request = GenerateRequest(request_id="r", model="m", prompt=TextPrompt("Hello"))
    for wrong in (
        structs.replace(request, n=2, partial=Partial(generated=1, tokens=(5,))),
        structs.replace(request, partial=Partial(generated=1, tokens=(10**7,))),
        structs.replace(request, partial=Partial(generated=1, tokens=(5,) * 5000)),
    ):
        assert isinstance(made.engine.intake.prepare(Generate(wrong)), Failed)
