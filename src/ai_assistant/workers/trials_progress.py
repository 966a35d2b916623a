"""How far trials are: by the seconds that they took, and that the others are expected to take."""

from collections.abc import Sequence

from ai_assistant.workers.trials_list import Task, tokens_of

_START = 200.0
"""Tokens that could be computed while a stand-in is loaded, about."""
_ON_GPU = 0.1
"""Of the time that a processor takes, about: small steps and loading cost the same."""

Name = tuple[str, int, str]


class Progress:
    """Of some passes over the same tasks."""

    def __init__(self, tasks: Sequence[Task], passes: int) -> None:
        self._weights = {task.name: _weight(task) for task in tasks}
        self._left = {task.name: passes for task in tasks}
        self._took: dict[Name, float] = {}
        self._spent = self._share = 0.0

    @property
    def share(self) -> float:
        """That is done, from 0 to 1; it never goes back."""
        left = sum(count * self._expected(name) for name, count in self._left.items())
        whole = self._spent + left
        self._share = max(self._share, self._spent / whole if whole else 1.0)
        return self._share

    def done(self, name: Name, seconds: float) -> None:
        """One pass over a task."""
        self._left[name] -= 1
        self._took[name] = seconds
        self._spent += seconds

    def again(self, names: Sequence[Name]) -> None:
        """From now on these are still to be passed over, and no others."""
        self._left = {name: int(name in names) for name in self._left}

    def _expected(self, name: Name) -> float:
        if name in self._took:
            return self._took[name]
        known = sum(self._weights[one] for one in self._took)
        seconds = sum(self._took.values())
        return self._weights[name] * (seconds / known if seconds and known else 1.0)


def _weight(task: Task) -> float:
    trial = task.trial
    tokens = _START + tokens_of(trial.cases)
    return task.layers * tokens * (_ON_GPU if trial.gpu_layers else 1 / trial.threads)
