"""The examples in the docstrings of the package run, and print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import pbt_disent

PACKAGE = Path(pbt_disent.__file__).parent
MODULES = sorted(
    ".".join(["pbt_disent", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "pbt_disent":
            raise
        pytest.skip(f"{error.name} is not installed")
    outcome = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert outcome.attempted, f"the examples of {name} are not in docstrings"
    assert not outcome.failed, f"{outcome.failed} of the {outcome.attempted} examples of {name} fail"
