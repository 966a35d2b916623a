"""Steps are told of once, and only where their time is all their own."""

from tests.fakes.full_gpu import STATUS

from ai_assistant.engine.statistics import SAMPLES, Statistics
from ai_assistant.protocol.frames import Report, StepSample, pack, unpack_report


def test_steps_after_waited_for_steps_are_told_once() -> None:
    statistics = Statistics()
    statistics.sample(1, [10], 0.5, waited=True)  # what came before may still have computed
    statistics.sample(2, [10, 20], 0.5, waited=True)
    assert statistics.take_samples() == [StepSample(2, 15.0, 2, 0.5)]
    assert statistics.take_samples() == []


def test_steps_that_nobody_waited_for_are_not_told() -> None:
    statistics = Statistics()
    for waited in (True, False, True):
        statistics.sample(512, [0], 0.5, waited=waited)
    assert statistics.take_samples() == []


def test_reports_stay_small() -> None:
    statistics = Statistics()
    for _ in range(1000):
        statistics.sample(1, [10], 0.5, waited=True)
    samples = statistics.take_samples()
    assert len(samples) == SAMPLES
    report = unpack_report(pack(Report(STATUS, samples))[4:])
    assert isinstance(report, Report)
    assert report.steps == samples
