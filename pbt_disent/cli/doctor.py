"""The verb `doctor`: say what this machine can do, and what is missing."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pbt_disent.cli.app import verb
from pbt_disent.cli.arguments import AsJson

if TYPE_CHECKING:
    from pbt_disent.types import Json

__all__ = ["doctor", "examine"]

PACKAGES = ("torch", "ray", "mlflow", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "safetensors")


@verb("doctor", "doctor --json")
def doctor(as_json: AsJson = False) -> int:
    """Say what this machine can do, and what is missing.

    The exit code is 1 if something is missing that a run needs.
    """
    findings = examine()
    if as_json:
        print(json.dumps(findings, indent=1, sort_keys=True))
    else:
        _print(findings)
    return 1 if findings["problems"] else 0


def examine() -> Json:
    """Return versions, resources, everything that has a name, and problems with their remedies."""
    import torch

    from pbt_disent.config import preset_names
    from pbt_disent.files import free_bytes
    from pbt_disent.machine import usable_cpus, usable_memory
    from pbt_disent.metrics import METRICS
    from pbt_disent.registry import KINDS, components

    versions, problems = {}, []
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{package} is not installed: pip install pbt-disent")
    free = free_bytes(Path("."))
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
        "metrics": list(METRICS),
        "components": {kind: list(components(kind)) for kind in KINDS},
        "problems": problems,
    }


def _print(findings: Json) -> None:
    print(f"Python {findings['python']} on {findings['platform']}")
    print("Versions: " + ", ".join(f"{name} {version}" for name, version in findings["versions"].items()))
    print(
        f"Machine: {findings['cpus']} CPUs, {findings['memory_gib']} GiB of memory, "
        f"{findings['disk_gib']} GiB of disk free, " + (", ".join(findings["gpus"]) or "no GPU")
    )
    names = {"preset": findings["presets"], "metric": findings["metrics"], **findings["components"]}
    for kind, registered in names.items():
        print(f"{kind.capitalize()}: {', '.join(registered) or 'none'}")
    for problem in findings["problems"]:
        print(f"Problem: {problem}")
    print("Ready." if not findings["problems"] else "Not ready.")
