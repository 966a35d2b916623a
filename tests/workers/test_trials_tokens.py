"""What trials say: a mixture that hears the same token again finds its experts in a cache."""

from pathlib import Path

import pytest
from benchmarks.tiny import make

from ai_assistant.engine.kernels import Context, Model
from ai_assistant.protocol.layout import Case, Trial
from ai_assistant.workers.trials_child import Steps


class Overheard(Context):
    """Real kernels; notes what each step says."""

    said: list[list[int]]

    def decode(self, batch) -> None:  # type: ignore[no-untyped-def]
        self.said.append(batch.tokens[: batch.size].tolist())
        super().decode(batch)


@pytest.mark.parametrize("depth", [0, 64])
def test_no_step_says_what_another_said(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "tiny.gguf"
    make("tiny", path)
    model = Model(str(path))
    context = Overheard(model, cells=512, sequences=4, chunk=64, outputs=4, threads=1,
                        threads_batch=1)  # fmt: skip
    context.said = []
    trial = Trial(path=str(path), gpu_layers=0, threads=1, chunk=64, tokens=512, cases=())
    steps = Steps(context, trial, {})
    steps.fill(depth)
    context.said.clear()
    for case in (Case(1, depth), Case(1, depth), Case(4, depth, 4)):
        steps.open(case)
        steps.timed(case)
    told = [token for step in context.said for token in step]
    assert len(told) == len(set(told)) == 6
    context.close()
    model.close()
