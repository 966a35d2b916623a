"""Models for the engine's tests: the bundled one and random ones of each class."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from benchmarks.tiny import make
from tests.engine.harness import Bench
from tests.engine.matmul_tools import Products

from ai_assistant.engine.kernels import Model
from ai_assistant.engine.kernels.devices import devices
from ai_assistant.store.models import starter_path

MakeBench = Callable[..., Bench]


@pytest.fixture(scope="session")
def starter() -> Iterator[Model]:
    model = Model(str(starter_path()))
    yield model
    model.close()


@pytest.fixture(scope="session")
def steady_starter(starter: Model) -> Iterator[Model]:
    """On the processor, where a token comes to the same bits whatever is computed beside it: a
    GPU's kernels add up in another order for another number of tokens."""
    if not any(one.kind in ("gpu", "igpu") for one in devices()):
        yield starter
        return
    model = Model(str(starter_path()), gpu_layers=0)
    yield model
    model.close()


@pytest.fixture
def bench(starter: Model) -> Iterator[MakeBench]:
    yield from builder(starter)


@pytest.fixture
def steady_bench(steady_starter: Model) -> Iterator[MakeBench]:
    """For tests in which answers must be the same to the last bit."""
    yield from builder(steady_starter, op_offload=False)


def builder(model: Model, path: Path | None = None, **usual: int) -> Iterator[MakeBench]:
    """Makes engines on one model, the bundled one unless told otherwise, and closes them."""
    made: list[Bench] = []
    # One thread: the tests' machine may be busy, and threads that wait for each other crawl.
    usual |= {"threads": 1, "threads_batch": 1}

    def build(**changes: object) -> Bench:
        made.append(Bench(model, path or starter_path(), **(usual | changes)))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture(scope="session", params=["tiny-swa", "tiny-recurrent", "tiny-hybrid"])
def whole_state_model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Model]:
    """Models of which only a whole sequence can be continued."""
    path = make(request.param, tmp_path_factory.mktemp("models") / f"{request.param}.gguf")
    # On the processor: a GPU adds up in another order when several run, and random weights have
    # near ties everywhere.
    model = Model(str(path), gpu_layers=0)
    yield model
    model.close()


@pytest.fixture(scope="session")
def processor() -> Iterator[Products]:
    made = Products()
    yield made
    made.close()


@pytest.fixture
def exact(processor: Products) -> Products:
    if not (processor.ours or processor.able):
        pytest.skip("our products are for x86 processors with AVX2")
    return processor
