"""A private Ray for one run, with a folder and a token of its own, or the connection to a Ray that runs already."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import os
import re
import secrets
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray import _raylet
from ray.exceptions import AuthenticationError

from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.tune.address import TOKEN_REMEDY, check_reachable
from pbt_disent.tune.cleanup import CleanupProcess, end_processes
from pbt_disent.tune.resources import Allocation

__all__ = ["joined_cluster", "private_cluster", "private_folder", "process_token", "reread_environment"]

AUTH_MODE = "RAY_AUTH_MODE"
NICENESS = "RAY_worker_niceness"
PREFIX = "pbtd-"
MAX_BASE_LENGTH = 24
"""Ray puts sockets about 75 characters deep into its folder, and a socket's path ends at 107 bytes."""

GRACE_SECONDS = 2.0
NATIVE_LOG = re.compile(rb"\[\d{4}-\d\d-\d\d [\d:,]+ [A-Z] ")


@contextlib.contextmanager
def private_cluster(allocation: Allocation, namespace: str, folder: Path) -> Iterator[None]:
    """Start a Ray that no other process joins, and end all of its processes at the end of the block.

    The calling thread must live as long as the cluster: Linux ends Ray's processes when the thread that started them
    ends, which is how they go down with a driver that was killed.

    Args:
        allocation: The resources that it may take.
        namespace: The namespace of the actors' names.
        folder: The folder where it keeps sockets and logs. Its path must be short.

    Raises:
        PbtDisentError: This process uses another Ray already.
    """
    if ray.is_initialized():
        raise PbtDisentError("this process is connected to another Ray; run in a process of its own")
    # ray.init sets the mode to token for a cluster of its own, and refreshes what it read at import.
    with _environment(allocation.cpus, {AUTH_MODE: None, "RAY_AUTH_TOKEN": process_token()}), _quiet():
        try:
            with _python_sigterm():
                ray.init(
                    address="local",
                    num_cpus=allocation.cpus,
                    num_gpus=allocation.gpus,
                    object_store_memory=allocation.object_store_bytes,
                    include_dashboard=False,
                    namespace=namespace,
                    configure_logging=False,
                    log_to_driver=False,
                    _temp_dir=str(folder),
                )
            if os.environ.get(AUTH_MODE) != "token":
                raise PbtDisentError("Ray started without token authentication, which lets anyone in the network in")
            yield
        finally:
            _shut_down()


@contextlib.contextmanager
def joined_cluster(address: str, namespace: str, *, allow_unauthenticated: bool) -> Iterator[None]:
    """Connect to a Ray that runs already, with the token that Ray finds, and disconnect at the end of the block.

    Args:
        address: The address of the Ray: ``HOST:PORT`` or ``auto``.
        namespace: The namespace of the actors' names.
        allow_unauthenticated: Whether a cluster without a token is accepted.

    Raises:
        UserError: The Ray does not answer, refuses the token, or has other versions.
        PbtDisentError: This process uses another Ray already.
    """
    if ray.is_initialized():
        raise PbtDisentError("this process is connected to another Ray; run in a process of its own")
    check_reachable(address)
    mode = os.environ.get(AUTH_MODE, "disabled") if allow_unauthenticated else "token"
    with _environment(os.cpu_count() or 1, {AUTH_MODE: mode}), _quiet():
        reread_environment()
        try:
            with _python_sigterm(), _explain_refusal(address), _without_native_log():
                ray.init(address=address, namespace=namespace, configure_logging=False, log_to_driver=False)
            yield
        finally:
            _shut_down()


@contextlib.contextmanager
def _without_native_log() -> Iterator[None]:
    """Suppress what Ray's native code writes to the standard error, past Python, while it connects."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            captured.seek(0)
            for line in captured:
                if not NATIVE_LOG.match(line):
                    os.write(2, line)


@contextlib.contextmanager
def _explain_refusal(address: str) -> Iterator[None]:
    """Raise a `UserError` that says in one line why Ray refused this process."""
    try:
        yield
    except AuthenticationError:
        raise UserError(f"token for {address}", "is missing", TOKEN_REMEDY) from None
    except ConnectionError:
        if address == "auto":
            raise UserError("address auto", "finds no Ray on this node", "start one, or give HOST:PORT") from None
        raise UserError(
            f"address {address}",
            "refuses this process: the token is wrong, nothing of Ray listens there, or this machine is no node of it",
            f"{TOKEN_REMEDY}; from outside of the cluster use pbt-disent submit",
        ) from None
    except RuntimeError as error:
        versions = [f"{name} {version}" for name, version in re.findall(r"(Ray|Python): (\S+)", str(error))]
        if "Version mismatch" not in str(error) or len(versions) != 4:
            raise
        theirs, ours = " and ".join(versions[:2]), " and ".join(versions[2:])
        raise UserError(
            f"address {address}", f"has {theirs}, here are {ours}", "install the same versions on all nodes"
        ) from None


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder with a short path.

    At the end of the block, or when this process dies, the folder is deleted and every process that uses it is ended.
    """
    base = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base if len(base) <= MAX_BASE_LENGTH else "/tmp"))
    cleanup = CleanupProcess(folder)
    try:
        yield folder
    finally:
        end_processes(folder, GRACE_SECONDS)
        cleanup.close()


@contextlib.contextmanager
def _python_sigterm() -> Iterator[None]:
    """Keep the handler that Python has for SIGTERM: Ray's native one prints a trace and has an alarm end the process.

    A signal that comes while Ray starts still meets the native handler; of that, the trace alone is left.
    """
    ctypes.pythonapi.PyOS_getsig.restype = ctypes.c_void_p
    ctypes.pythonapi.PyOS_setsig.argtypes = [ctypes.c_int, ctypes.c_void_p]
    handler = ctypes.pythonapi.PyOS_getsig(signal.SIGTERM)
    has_alarm = any(signal.getitimer(signal.ITIMER_REAL))
    try:
        yield
    finally:
        ctypes.pythonapi.PyOS_setsig(signal.SIGTERM, handler)
        if not has_alarm:
            signal.alarm(0)


@functools.cache
def process_token() -> str:
    """Return this process's token, which Ray reads once: the one that the user has set, or a new one."""
    return os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32)


@contextlib.contextmanager
def _environment(cpus: int, authentication: Mapping[str, str | None]) -> Iterator[None]:
    """Set what Ray and Tune read from the environment, here and in the processes that they start."""
    variables: dict[str, str | None] = {
        **authentication,
        "RAY_USAGE_STATS_ENABLED": "0",
        NICENESS: os.environ.get(NICENESS, "0"),  # Ray would run workers and trials at 15
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "TUNE_GLOBAL_CHECKPOINT_S": "86400",
        "TUNE_MAX_PENDING_TRIALS_PG": str(cpus),  # the first trial is there sooner when not all start at once
    }
    before = {name: os.environ.get(name) for name in variables}
    _set_environment(variables)
    try:
        yield
    finally:
        _set_environment(before)
        reread_environment()


def reread_environment() -> None:
    """Have Ray's native code read the environment again: what it knows is from its import, or of the last cluster.

    A process that asks for tokens where its cluster has none gets no answers, and its actors count as abandoned.
    """
    native: Any = _raylet  # it has no annotations
    native.Config.initialize("")
    native.AuthenticationTokenLoader.instance().reset_cache()


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _shut_down() -> None:
    """Shut Ray down, or leave it.

    Its thread for messages may still be about to subscribe then, and raise as its connection is closed: the traceback
    of that is left out. Where a signal has cut off its start, Ray does not wait for the thread, which may raise later.
    """
    original_hook = threading.excepthook

    def is_of_ray(thread: threading.Thread | None) -> bool:
        return thread is not None and thread.name.startswith("ray_")

    def show(failure: threading.ExceptHookArgs) -> None:
        if not is_of_ray(failure.thread):
            original_hook(failure)

    threading.excepthook = show
    try:
        ray.shutdown()
    finally:
        if not any(map(is_of_ray, threading.enumerate())):
            threading.excepthook = original_hook


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's own log from the console: what matters is raised as an error."""
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
