"""What a grammar leaves no choice about is guessed, and verified like any guess."""

from tests.engine.conftest import MakeBench

from ai_assistant.engine.intake import Intake
from ai_assistant.protocol.frames import Generate
from ai_assistant.protocol.requests import GenerateRequest, OutputFormat, Sampling, TextPrompt

SCHEMA = {
    "type": "object",
    "properties": {
        "first_name_of_the_writer": {"enum": ["Ann", "Bob"]},
        "place_where_it_was_written": {"enum": ["Rome", "Oslo"]},
    },
    "required": ["first_name_of_the_writer", "place_where_it_was_written"],
    "additionalProperties": False,
}


def answer(bench: MakeBench, *, speculation: bool) -> tuple[str, int, int]:
    """The text, the steps it took, and how many guesses were right."""
    engine = bench(speculation=speculation)
    request = GenerateRequest(
        request_id="form",
        model="test",
        prompt=TextPrompt("A letter by Ann from Rome: "),
        sampling=Sampling(temperature=0),
        max_tokens=80,
        format=OutputFormat(kind="json_schema", schema=SCHEMA),
    )
    intake = Intake(engine.model, engine.plan.context_limit)
    engine.orders.arrivals.put(intake.prepare(Generate(request)))
    text = engine.run().text("form")
    status = engine.engine.status()
    return text, status.steps, status.accepted_tokens


def test_forced_tokens_save_steps_and_change_nothing(bench: MakeBench) -> None:
    slow, slow_steps, _ = answer(bench, speculation=False)
    quick, quick_steps, right = answer(bench, speculation=True)
    assert quick == slow
    assert right > 0
    assert quick_steps < slow_steps
