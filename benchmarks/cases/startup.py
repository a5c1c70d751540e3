"""How long a user waits: for the help text, and for the first training step."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.case import CASES, Case, Contest, Disagreement, Measure, Setting
from benchmarks.timing import timed
from pbt_disent.files import is_unfinished

__all__ = ["prepare"]

HELP = (sys.executable, "-m", "pbt_disent", "--help")
EAGER = (sys.executable, "-c", "import torch, ray.tune, mlflow")
PATIENCE = 180.0
ARRAY = b"\x93NUMPY"


def prepare(setting: Setting) -> Contest:
    """The peer is a command line that imports torch, Ray Tune and MLflow before it prints its help.

    The time to the first training step is that of `pbt-disent run demo` with one batch per task, from the command to
    the first checkpoint that a worker has stored; it is measured at full size only, and once.
    """

    def agree() -> str:
        if "resume" not in subprocess.run(HELP, capture_output=True, text=True, check=True).stdout:
            raise Disagreement("the help text does not list the verbs")
        return "the help lists the verbs"

    def measures(medians: Mapping[str, float]) -> Sequence[Measure]:
        if setting.size != "full" or not setting.first:
            return []
        return [Measure("from `run` to the first training step", _first_step(setting.folder / "runs"), "s")]

    return Contest(
        timed("pbt-disent --help", lambda: subprocess.run(HELP, capture_output=True, check=True)),
        [timed("importing torch, Ray Tune and MLflow", lambda: subprocess.run(EAGER, capture_output=True, check=True))],
        agree,
        setting.pick(2, 1, 1),
        measures=measures,
    )


def _first_step(runs: Path) -> float:
    """Start the demo with tasks of one step, wait for the first checkpoint, and stop the run."""
    command = (
        sys.executable, "-m", "pbt_disent", "run", "demo", "--runs", str(runs), "--name", "first",
        "--set", "population.images_per_generation=64",
    )  # fmt: skip
    begun = time.perf_counter()
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _has_checkpoint(runs / "first" / "blobs"):
            if run.poll() is not None or time.perf_counter() - begun > PATIENCE:
                raise Disagreement("the demo stored no checkpoint")
            time.sleep(0.02)
        return time.perf_counter() - begun
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
                    if file.read(len(ARRAY)) != ARRAY:
                        return True
    return False


CASES.register("startup")(Case("`pbt-disent --help`: against importing everything first", prepare))
