"""Say what this machine can do, and what is missing."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import shutil
import sys

from pbt_disent.types import Json

__all__ = ["add_arguments", "call", "examine"]

PACKAGES = ("torch", "ray", "mlflow", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def call(options: argparse.Namespace) -> int:
    """Print what was found; the exit code is 1 if something that a run needs is missing."""
    found = examine()
    if options.json:
        print(json.dumps(found, indent=1, sort_keys=True))
    else:
        _print(found)
    return 1 if found["problems"] else 0


def examine() -> Json:
    """Return versions, resources, everything that has a name, and problems with their remedies."""
    import torch

    from pbt_disent.config import preset_names
    from pbt_disent.data import READERS, WORLDS
    from pbt_disent.machine import usable_cpus, usable_memory
    from pbt_disent.metrics import METRICS
    from pbt_disent.models import OBJECTIVES
    from pbt_disent.population.fitness import FITNESS

    versions, problems = {}, []
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{package} is not installed: pip install pbt-disent")
    free = shutil.disk_usage(".").free
    if free < 2**30:
        problems.append(f"only {free / 2**20:.0f} MiB of disk are free here: a run needs about 1 GiB")
    memory = usable_memory()
    if memory < 4 * 2**30:
        problems.append(f"only {memory / 2**30:.1f} GiB of memory: Ray, MLflow and two workers need about 3")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": sys.executable,
        "versions": versions,
        "cpus": usable_cpus(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "memory_gib": round(memory / 2**30, 1),
        "disk_gib": round(free / 2**30, 1),
        "presets": preset_names(),
        "objectives": list(OBJECTIVES),
        "fitness": list(FITNESS),
        "metrics": list(METRICS),
        "renderers": list(WORLDS),
        "readers": list(READERS),
        "problems": problems,
    }


def _print(found: Json) -> None:
    print(f"Python {found['python']} on {found['platform']}")
    print("Versions: " + ", ".join(f"{name} {version}" for name, version in found["versions"].items()))
    print(
        f"Machine: {found['cpus']} CPUs, {found['memory_gib']} GiB of memory, {found['disk_gib']} GiB of disk free, "
        + (", ".join(found["gpus"]) or "no GPU")
    )
    for kind in ("presets", "objectives", "fitness", "metrics", "renderers", "readers"):
        print(f"{kind.capitalize()}: {', '.join(found[kind]) or 'none'}")
    for problem in found["problems"]:
        print(f"Problem: {problem}")
    print("Ready." if not found["problems"] else "Not ready.")
