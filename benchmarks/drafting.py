"""What guessing costs: microseconds of each decode step, milliseconds for a long prompt.

`python -m benchmarks.drafting`. The prompt is 32,000 tokens of this project's own texts, cut into
words, and once random tokens. A step is what the engine does for a sequence: append a token, ask
for a guess of 16, decide its length. Beside that stands what speculation would gain on texts copied
from the prompt, at three shapes of a step's seconds: simulated, no model runs.
"""

import random
import re
import statistics
import time
from array import array
from collections.abc import Callable

from ai_assistant.engine.speculation import Tenants, draft_length
from ai_assistant.engine.speculation.ngrams import LATEST, History
from ai_assistant.engine.speculation.repeats import Repeats
from benchmarks.report import ROOT, Record, publish

LENGTH = 32_000
GUESS = 16
STEPS = 2_000


def project_text() -> "array[int]":
    """This project's texts as tokens about as long as a real vocabulary's."""
    files = sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("src/ai_assistant/*/*.py")])
    text = "".join(file.read_text() for file in files)
    numbers: dict[str, int] = {}
    words = re.findall(r" ?\w{1,6}|\n *|[^\w\s]+|\s", text)
    return array("i", [numbers.setdefault(word, len(numbers)) for word in words[:LENGTH]])


def random_text(length: int, vocabulary: int = 150_000) -> "array[int]":
    """Tokens without a pattern."""
    return array("i", random.Random(1).choices(range(vocabulary), k=length))


def linear(slope: float) -> Callable[[int], float]:
    """Seconds of a step of n tokens, in units of a step of one."""
    return lambda tokens: 1 + slope * (tokens - 1)


def absorbing(text: "array[int]") -> float:
    """Milliseconds for a whole prompt, the best of some rounds."""
    times: list[float] = []
    for _ in range(7):
        begun = time.perf_counter()
        Repeats(text).absorb(len(text))
        times.append(time.perf_counter() - begun)
    return 1000 * min(times)


def longest_slice(text: "array[int]") -> float:
    """Milliseconds of the slowest step while a prompt is taken in, the median of some rounds."""
    times: list[float] = []
    for _ in range(7):
        drafter = Tenants().drafter("", text)
        slowest = 0.0
        while not drafter.state.ready:
            begun = time.perf_counter()
            drafter.candidates(GUESS)
            slowest = max(slowest, time.perf_counter() - begun)
        times.append(slowest)
    return 1000 * statistics.median(times)


def remembering() -> float:
    """Milliseconds to remember a long answer when the memory is full."""
    history, times = History(), list[float]()
    numbers = random.Random(2)
    for _ in range(16):
        answer = array("i", numbers.choices(range(150_000), k=LATEST))
        begun = time.perf_counter()
        history.add(answer)
        times.append(time.perf_counter() - begun)
    return 1000 * statistics.median(times[9:])


def step_microseconds(
    prompt: "array[int]", answer: "array[int]", past: "array[int] | None", *, guesses: bool
) -> tuple[float, float]:
    """Median and 99th percentile of the steps that had a guess, or of those that had none."""
    tenants = Tenants()
    if past:
        remember(tenants, past)
    tokens = prompt[:]
    drafter = tenants.drafter("", tokens)
    drafter.absorb(len(tokens))
    seconds, times = linear(0.15), list[float]()
    for token in answer:
        tokens.append(token)
        begun = time.perf_counter()
        guess = drafter.candidates(GUESS)
        if guess.tokens:
            draft_length(guess.chances, 0, seconds, GUESS)
        spent = time.perf_counter() - begun
        if bool(guess.tokens) == guesses:
            times.append(spent)
    cuts = statistics.quantiles(times, n=100)
    return 1e6 * cuts[49], 1e6 * cuts[98]


def remember(tenants: Tenants, answer: "array[int]") -> None:
    """A tenant's past answer."""
    tokens = array("i")
    drafter = tenants.drafter("", tokens)
    tokens.extend(answer)
    drafter.finish()


def gain(prompt: "array[int]", answer: "array[int]", slope: float) -> float:
    """Tokens per second against no speculation, simulated."""
    seconds, tokens = linear(slope), prompt[:]
    drafter = Tenants().drafter("", tokens)
    spent, place = 0.0, 0
    while place < len(answer):
        guess = drafter.candidates(GUESS)
        drafted = draft_length(guess.chances, 0, seconds, len(answer) - place - 1)
        right = 0
        while right < drafted and guess.tokens[right] == answer[place + right]:
            right += 1
        tokens.extend(answer[place : place + right + 1])
        place += right + 1
        spent += seconds(1 + drafted)
    return len(answer) / spent


def edited(text: "array[int]", every: int) -> "array[int]":
    """The text with one token of so many replaced."""
    copy = text[:]
    for place in range(every - 1, len(copy), every):
        copy[place] += 1_000_000
    return copy


def bounded(name: str, value: float, unit: str, most: float) -> Record:
    """A value that must stay under a bar."""
    return Record(name, value, unit, bar=f"< {most:g} {unit}", holds=value < most)


def costs(text: "array[int]", plain: "array[int]") -> list[Record]:
    """Time that the engine's thread spends."""
    records = [
        bounded("absorb 32,000 tokens of text", absorbing(text), "ms", 100),
        bounded("absorb 32,000 random tokens", absorbing(plain), "ms", 100),
        bounded("longest pause while absorbing", longest_slice(plain), "ms", 5),
        bounded("remember an answer of 4,096 tokens", remembering(), "ms", 5),
    ]
    fresh = array("i", [token + 200_000 for token in random_text(STEPS)])
    other, copy = random_text(LATEST), text[:STEPS]
    dense = array("i", [token for new in plain[: LENGTH // 3] for token in (3, 4, new)])
    loose = array("i", [token for new in fresh for token in (3, 4, new)])
    cases = (
        ("no match", plain, fresh, None, False, 20),
        ("no match, past answers known", plain, fresh, other, False, 20),
        ("no guess, a pair that is everywhere", dense, loose, None, False, 20),
        ("a copy of the prompt", text, copy, None, True, 50),
        ("a copy of the prompt, past answers known", text, copy, other, True, 50),
        ("a copy of a past answer", plain, copy, copy, True, 50),
        ("other text of the same kind", text[:-STEPS], text[-STEPS:], None, True, 50),
    )
    for name, prompt, answer, past, guesses, most in cases:
        median, tail = step_microseconds(prompt, answer, past, guesses=guesses)
        records.append(bounded(f"step: {name}", median, "µs", most))
        records.append(Record(f"step: {name}, 99 of 100", tail, "µs"))
    return records


def gains(text: "array[int]") -> list[Record]:
    """What it is good for, simulated."""
    part, before = text[1_000:3_000], text[:-STEPS]
    answers = (
        ("a copy", part, 2.0),
        ("a copy, one of 20 tokens changed", edited(part, 20), 1.0),
        ("other text of the same kind", text[-STEPS:], 0.97),
        ("random text of 40 tokens", random_text(STEPS, 40), 0.97),
    )
    records: list[Record] = []
    for slope in (0.05, 0.15, 0.5):
        for name, answer, least in answers:
            value = gain(before, answer, slope)
            bar = least if slope <= 0.15 else min(least, 0.97)
            records.append(
                Record(
                    f"t(1+k) = 1 + {slope}k: {name}", value, "x", bar=f"≥ {bar}", holds=value >= bar
                )
            )
    return records


def main() -> None:
    """Measure what it costs, simulate what it gains."""
    text = project_text()
    notes = (
        "A step: a token appended, a guess of 16, its length decided; Python only.",
        "Gains are simulated on the tokens; x = against a step per token.",
    )
    publish("drafting", [*costs(text, random_text(LENGTH)), *gains(text)], notes=notes)


if __name__ == "__main__":
    main()
