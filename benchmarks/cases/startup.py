"""How long a user waits: for the help text, and for the first training step."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.case import CASES, Case, Comparison, Disagreement, Measurement, Setup
from benchmarks.timing import timed
from pbt_disent.files import is_unfinished

__all__ = ["prepare_startup"]

HELP = (sys.executable, "-m", "pbt_disent", "--help")
EAGER = (sys.executable, "-c", "import torch, ray.tune, mlflow")
START_TIMEOUT = 180.0
NUMPY_MAGIC = b"\x93NUMPY"


def prepare_startup(setup: Setup) -> Comparison:
    """The baseline is a command line that imports torch, Ray Tune and MLflow before it prints its help.

    The time to the first training step is that of `pbt-disent run demo` with one batch per task, from the command to
    the first checkpoint that a worker has stored; it is measured at full size only, and once.
    """

    def check() -> str:
        if "resume" not in subprocess.run(HELP, capture_output=True, text=True, check=True).stdout:
            raise Disagreement("the help text does not list the verbs")
        return "the help lists the verbs"

    def measurements(medians: Mapping[str, float]) -> Sequence[Measurement]:
        if setup.size != "full" or not setup.is_first_session:
            return []
        return [Measurement("from `run` to the first training step", _first_step(setup.folder / "runs"), "s")]

    return Comparison(
        timed("pbt-disent --help", lambda: subprocess.run(HELP, capture_output=True, check=True)),
        [timed("importing torch, Ray Tune and MLflow", lambda: subprocess.run(EAGER, capture_output=True, check=True))],
        check,
        setup.pick(2, 1, 1),
        measurements=measurements,
    )


def _first_step(runs: Path) -> float:
    """Start the demo with tasks of one step, wait for the first checkpoint, and stop the run."""
    command = (
        sys.executable, "-m", "pbt_disent", "run", "demo", "--runs", str(runs), "--name", "first",
        "--set", "population.image_passes_per_generation=64",
    )  # fmt: skip
    start = time.perf_counter()
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _has_checkpoint(runs / "first" / "blobs"):
            if run.poll() is not None or time.perf_counter() - start > START_TIMEOUT:
                raise Disagreement("the demo stored no checkpoint")
            time.sleep(0.02)
        return time.perf_counter() - start
    finally:
        run.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(30)
        run.kill()
        run.wait()


def _has_checkpoint(blobs: Path) -> bool:
    """Return whether a blob is there that is no array: the driver stores arrays only, the workers checkpoints too."""
    with contextlib.suppress(FileNotFoundError):
        for path in blobs.glob("??/*"):
            if not is_unfinished(path):
                with path.open("rb") as file:
                    if file.read(len(NUMPY_MAGIC)) != NUMPY_MAGIC:
                        return True
    return False


CASES.register("startup")(Case("`pbt-disent --help`: against importing everything first", prepare_startup))
