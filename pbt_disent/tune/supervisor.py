"""What a submitted job runs: the run, and the run again when something below it failed. Imports no ray.

Ray does not retry a job, so this does: it starts `pbt-disent run`, or `resume` where the run is on record already, as
a process of its own, and starts `resume` when that fails. Every attempt that commits a generation refills the budget.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from pbt_disent.config import load_config, read_yaml, validate
from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.files import storage_failure
from pbt_disent.store.filesystem import below, open_files

__all__ = ["build_parser", "command", "main", "supervise"]

BACKOFF_SECONDS = (5.0, 20.0, 60.0, 180.0)
BAD_INPUT = UserError.exit_code
STOPPED = 130


def command(config: Path | None, name: str, runs: str, extra: Sequence[str]) -> list[str]:
    """Return the command that runs or resumes a run, whichever its folder asks for.

    A folder of the same name with another config is left alone: `run` refuses it.
    """
    base = [sys.executable, "-m", "pbt_disent"]
    if config is None or _kept(name, runs) == load_config(config).digest:
        return [*base, "resume", name, "--runs", runs, *extra]
    return [*base, "run", str(config), "--name", name, "--runs", runs, *extra]


def _kept(name: str, runs: str) -> str | None:
    """Return the digest of the config of a run that is on record."""
    try:
        return validate(read_yaml(open_files(below(runs, name)).read("config.yaml").decode())).digest
    except FileNotFoundError:
        return None


def _committed(name: str, runs: str) -> int:
    """Count the manifests of a run; none where the storage does not answer."""
    try:
        return sum(1 for entry in open_files(below(runs, name)).entries("rounds") if "generation-" in entry.name)
    except OSError:
        return 0


def supervise(
    attempt: Callable[[], int],
    progress: Callable[[], int],
    wait: Callable[[float], bool],
    say: Callable[[str], None],
    retries: int,
) -> int:
    """Attempt until it ends well, is stopped, cannot end well, or fails too often in a row.

    Args:
        attempt: does it once and returns its exit code; negative for a signal.
        progress: counts what is safe so far; where it has grown, failures are counted anew.
        wait: waits so many seconds, and returns true if it was told to stop.
        say: tells what happens.
        retries: attempts after the first one that bring nothing.

    Returns:
        The exit code of the last attempt; 130 if it was told to stop.
    """
    failures, safe = 0, progress()
    while True:
        code = attempt()
        if wait(0.0):
            return STOPPED
        if code in {0, BAD_INPUT, STOPPED}:
            return code
        reached = progress()
        failures, safe = (1 if reached > safe else failures + 1), reached
        what = f"ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
        if failures > retries:
            say(f"supervisor: {what}; {retries} retries brought nothing")
            return code if code > 0 else 1
        delay = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1]
        say(f"supervisor: {what}; retry {failures} of {retries} in {delay:.0f} s")
        if wait(delay):
            return STOPPED


class _Attempts:
    """Starts one process after the other, and passes a request to end on to the one that runs."""

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
        self._process = subprocess.Popen(command)
        if self._stopping.is_set():
            self._process.terminate()
        return self._process.wait()

    def wait(self, seconds: float) -> bool:
        return self._stopping.wait(seconds)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; what it does not know is for `run` and `resume`."""
    parser = argparse.ArgumentParser(prog="python -m pbt_disent.tune.supervisor", description=__doc__)
    parser.add_argument("name", help="of the run")
    parser.add_argument("--runs", required=True, help="folder or URI of all runs, seen by all nodes")
    parser.add_argument("--config", type=Path, help="of a new run; left out, the run is on record")
    parser.add_argument("--retries", type=int, default=3, help="(%(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Supervise a run."""
    options, extra = build_parser().parse_known_args(arguments)
    attempts = _Attempts()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, attempts.stop)

    def attempt() -> int:
        try:
            return attempts.run(command(options.config, options.name, options.runs, extra))
        except OSError as error:
            print(f"pbt-disent: {storage_failure(error)}", file=sys.stderr)
            return 1

    try:
        return supervise(
            attempt,
            lambda: _committed(options.name, options.runs),
            attempts.wait,
            lambda text: print(text, flush=True),
            options.retries,
        )
    except PbtDisentError as error:
        print(f"pbt-disent: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
