"""What a submitted job runs: a process that runs `pbt-disent run` and restarts it when it fails. Imports no ray.

Ray does not retry a job, so this does: it starts `pbt-disent run`, or `resume` where the run is on record already, as
a process of its own, and starts `resume` when that fails. After an attempt that has committed a generation, failures
are counted anew.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from pbt_disent.config import load_config, read_yaml, validate
from pbt_disent.errors import STOPPED, PbtDisentError, UserError
from pbt_disent.files import storage_failure
from pbt_disent.store.filesystem import join_location, open_files

__all__ = ["build_command", "build_parser", "main", "supervise"]

BACKOFF_SECONDS = (5.0, 20.0, 60.0, 180.0)
BAD_INPUT = UserError.exit_code
LOG_PREFIX = "supervisor: "
"""The beginning of each line that the supervisor prints."""
PROGRESS_RECORDS = "PBT_DISENT_PROGRESS_RECORDS"
"""The environment variable that makes a run print records of its progress, which `pbt-disent status` reads."""


def supervise(
    attempt: Callable[[], int],
    count_committed: Callable[[], int],
    wait: Callable[[float], bool],
    log: Callable[[str], None],
    retries: int,
) -> int:
    """Retry until success, a request to stop, an error of the user, or too many failures in a row.

    Args:
        attempt: Makes one attempt and returns its exit code, which is negative for a signal.
        count_committed: Returns the number of committed generations. Where it has grown, failures are counted anew.
        wait: Waits so many seconds, and returns whether a request to stop has come.
        log: Prints a line about what happens.
        retries: How many times a run is restarted in a row without committing a generation.

    Returns:
        The exit code of the last attempt; 130 after a request to stop.
    """
    failures, committed = 0, count_committed()
    while True:
        code = attempt()
        if wait(0.0):
            return STOPPED
        if code in {0, BAD_INPUT, STOPPED}:
            return code
        previous, committed = committed, count_committed()
        failures = 1 if committed > previous else failures + 1
        failure = f"ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
        if failures > retries:
            log(f"{LOG_PREFIX}{failure}; {retries} restarts in a row committed nothing")
            return code if code > 0 else 1
        delay = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1]
        log(f"{LOG_PREFIX}{failure}; retry {failures} of {retries} in {delay:.0f} s")
        if wait(delay):
            return STOPPED


def build_command(config: Path | None, name: str, runs: str, extra: Sequence[str]) -> list[str]:
    """Return the command that runs or resumes a run, whichever its folder asks for.

    A folder of the same name with another config is left alone: `run` refuses it.

    Args:
        config: The config of a new run, or `None` where the run is on record.
        name: The name of the run.
        runs: The folder or URI of all runs.
        extra: Further arguments of `run` and `resume`.

    Returns:
        The command and its arguments.
    """
    base = [sys.executable, "-m", "pbt_disent"]
    if config is None or _recorded_digest(name, runs) == load_config(config).digest:
        return [*base, "resume", name, "--runs", runs, *extra]
    return [*base, "run", str(config), "--name", name, "--runs", runs, *extra]


def _recorded_digest(name: str, runs: str) -> str | None:
    """Return the digest of the config of a run that is on record, or `None` if it is not."""
    try:
        return validate(read_yaml(open_files(join_location(runs, name)).read("config.yaml").decode())).digest
    except FileNotFoundError:
        return None


def _count_manifests(name: str, runs: str) -> int:
    """Return the number of manifests of a run; 0 where the storage does not answer."""
    try:
        files = open_files(join_location(runs, name)).list_files("rounds")
        return sum(1 for file in files if "generation-" in file.name)
    except OSError:
        return 0


class _Attempts:
    """Starts one process after the other, and passes a request to stop on to the one that runs."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()

    def run(self, command: Sequence[str]) -> int:
        if self._stopping.is_set():
            return STOPPED
        self._process = subprocess.Popen(command, env={**os.environ, PROGRESS_RECORDS: "1"})
        if self._stopping.is_set():
            self._process.terminate()
        return self._process.wait()

    def wait(self, seconds: float) -> bool:
        return self._stopping.wait(seconds)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; unknown arguments are passed on to `run` or `resume`."""
    parser = argparse.ArgumentParser(prog="python -m pbt_disent.tune.supervisor", description=__doc__)
    parser.add_argument("name", help="name of the run")
    parser.add_argument("--runs", required=True, help="folder or URI of all runs, seen by all nodes")
    parser.add_argument("--config", type=Path, help="config of a new run; left out, the run is on record")
    parser.add_argument(
        "--retries", type=int, default=3, help="restarts in a row that may commit no generation (default: %(default)s)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Supervise a run.

    Args:
        arguments: The arguments; those of the command line by default.

    Returns:
        The exit code.
    """
    options, extra = build_parser().parse_known_args(arguments)
    attempts = _Attempts()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, attempts.stop)

    def attempt() -> int:
        try:
            return attempts.run(build_command(options.config, options.name, options.runs, extra))
        except OSError as error:
            print(f"pbt-disent: {storage_failure(error)}", file=sys.stderr)
            return 1

    try:
        return supervise(
            attempt,
            lambda: _count_manifests(options.name, options.runs),
            attempts.wait,
            lambda line: print(line, flush=True),
            options.retries,
        )
    except PbtDisentError as error:
        print(f"pbt-disent: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
