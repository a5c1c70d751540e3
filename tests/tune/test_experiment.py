"""What ends the thread of the experiment reaches whoever waits for it, in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.tune import experiment
from pbt_disent.tune.experiment import CurrentExperiment, ExperimentThread
from pbt_disent.tune.resources import Allocation

BUSY = "The current node timed out during startup.\n This could happen because the GCS has become overloaded."


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Exception(BUSY), f"Ray did not start: {' '.join(BUSY.split())}"),
        (ConnectionError(), "Ray did not start: ConnectionError"),
        (UserError("address", "must answer", "start it"), "address: must answer; start it"),
    ],
)
def test_a_ray_that_does_not_start_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    @contextlib.contextmanager
    def refuse(allocation: Allocation, namespace: str, folder: Path) -> Iterator[None]:
        raise error
        yield

    monkeypatch.setattr(experiment, "private_cluster", refuse)
    current = CurrentExperiment()
    worker_factory: Any = None  # no worker is started
    thread = ExperimentThread(current, "run", Allocation(1, 0, 1, 0.9, 0.0), 1, 1, worker_factory)
    thread.start()
    with pytest.raises(PbtDisentError) as caught:
        current.wait(60)
    thread.close()
    assert str(caught.value) == message
    assert not thread.is_alive()
