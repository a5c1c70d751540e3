"""What ends the thread that owns Ray reaches whoever waits for it, in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.tune import owner as module
from pbt_disent.tune.capacity import Capacity
from pbt_disent.tune.link import Link
from pbt_disent.tune.owner import Owner

BUSY = "The current node timed out during startup.\n This could happen because the GCS has become overloaded."


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Exception(BUSY), f"Ray did not start: {' '.join(BUSY.split())}"),
        (ConnectionError(), "Ray did not start: ConnectionError"),
        (UserError("address", "must answer", "start it"), "address: must answer; start it"),
    ],
)
def test_a_ray_that_does_not_start_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    @contextlib.contextmanager
    def refuse(capacity: Capacity, namespace: str, folder: Path) -> Iterator[None]:
        raise error
        yield

    monkeypatch.setattr(module, "private_cluster", refuse)
    link = Link()
    hiring: Any = None  # nobody is hired
    owner = Owner(link, "run", Capacity(1, 0, 1, 0.9, 0.0), 1, 1, hiring)
    owner.start()
    with pytest.raises(PbtDisentError) as caught:
        link.wait(60)
    owner.close()
    assert str(caught.value) == said
    assert not owner.is_alive()
