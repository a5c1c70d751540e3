"""The import directions of the architecture: each layer knows the ones below it, and heavy libraries have one home."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pbt_disent

PACKAGE = Path(pbt_disent.__file__).parent
BOTTOM = {"types", "errors", "registry", "config", "seeds", "machine", "files", "units"}
LAYERS = [
    {"presets"},
    {"data", "metrics", "store"},
    {"models"},
    {"training"},
    {"population"},
    {"rounds", "tune", "tracking"},
    {"report"},
    {"api", "automatic"},
    {"estimator"},
    {"cli"},
    {"__main__"},
]
OUTSIDE = {"benchmarks", "studies", "tests"}
HOMES = {"ray": "tune", "mlflow": "tracking"}


def layer(module: str) -> int:
    if module in BOTTOM or module == "":
        return -1
    return next(number for number, names in enumerate(LAYERS) if module in names)


def imports(path: Path) -> list[tuple[str, bool]]:
    """Return every module that a file imports, and whether that happens inside a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(node) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for node in ast.walk(f)}
    modules = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [(name.name, id(node) in inner) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            whole = (
                [f"{node.module}.{name.name}" for name in node.names] if node.module == "pbt_disent" else [node.module]
            )
            modules += [(str(name), id(node) in inner) for name in whole]
    return modules


def part(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem.replace("__init__", "")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_from_layers_below(path: Path) -> None:
    importer = part(path)
    for name, _ in imports(path):
        top, _, rest = name.partition(".")
        if top in HOMES:
            assert importer == HOMES[top], f"{path} imports {name}: only {HOMES[top]}/ may"
        assert top not in OUTSIDE, f"{path} imports {name}, which is not installed with the package"
        if top != "pbt_disent" or rest == "__version__":
            continue
        other = rest.split(".")[0]
        if other != importer and importer and importer not in BOTTOM:
            assert layer(other) < layer(importer), f"{path} imports {name}, which is not below {importer}"
        if importer in BOTTOM:
            assert other in BOTTOM or other == "", f"{path}: the bottom row imports only itself"


def test_metrics_know_arrays_only() -> None:
    for path in (PACKAGE / "metrics").rglob("*.py"):
        for name, inside in imports(path):
            assert not name.startswith(("pbt_disent.data", "pbt_disent.store")), f"{path} imports {name}"
            assert inside or not name.startswith("torch"), f"{path} imports torch at the top"


@pytest.mark.parametrize("statement", ["import pbt_disent.metrics, pbt_disent.data", "import pbt_disent.cli"])
def test_light_entrances_stay_light(statement: str) -> None:
    code = f"{statement}; import sys; print([m for m in ('torch', 'ray', 'mlflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_is_light() -> None:
    code = (
        "import sys\nfrom pbt_disent.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'ray', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    assert "resume" in done.stdout
