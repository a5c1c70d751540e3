"""What a run does with a Ray of its own, as far as that can be seen without one."""

from __future__ import annotations

import threading

import pytest
import ray

from pbt_disent.tune import cluster


def test_threads_of_ray_that_fail_as_it_is_shut_down_leave_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def fail() -> None:
        raise RuntimeError("closed")

    def shut_down() -> None:
        for name in ("ray_listen_error_messages", "another"):
            thread = threading.Thread(target=fail, name=name)
            thread.start()
            thread.join()

    def show(failure: threading.ExceptHookArgs) -> None:
        assert failure.thread is not None
        shown.append(failure.thread.name)

    monkeypatch.setattr(threading, "excepthook", show)
    monkeypatch.setattr(ray, "shutdown", shut_down)
    cluster._shut_down()
    assert shown == ["another"]
    assert threading.excepthook is show


def test_a_thread_of_ray_that_fails_after_the_shutdown_leaves_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray waits for its threads only where its start came to an end."""
    shown: list[threading.ExceptHookArgs] = []
    closed = threading.Event()

    def fail() -> None:
        assert closed.wait(60.0)
        raise RuntimeError("closed")

    thread = threading.Thread(target=fail, name="ray_listen_error_messages")
    monkeypatch.setattr(threading, "excepthook", shown.append)
    monkeypatch.setattr(ray, "shutdown", thread.start)
    cluster._shut_down()
    closed.set()
    thread.join(60.0)
    assert not thread.is_alive()
    assert shown == []
