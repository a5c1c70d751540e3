"""What the generated pages of the site say, and what the site refuses. `make docs` builds it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from tests.test_cluster_files import check_command

pytest.importorskip("mkdocs")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def load_hook() -> Callable[[str], ModuleType]:
    """Import a file of docs/, which is no package."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="module")
def generate(load_hook: Callable[[str], ModuleType]) -> ModuleType:
    return load_hook("generate")


def test_every_option_of_the_config_is_on_the_page(generate: ModuleType) -> None:
    from pbt_disent.config import Config

    page = generate.options_page()
    for name, section in [("", Config), *generate.sections(Config)]:
        assert f"## {name}" in page
        for key in section.model_fields:
            assert f"`{key}`" in page or f"## {name}.{key}".replace("## .", "## ") in page


def test_a_page_that_loads_something_from_another_host_is_refused(generate: ModuleType) -> None:
    from mkdocs.exceptions import PluginError

    page = cast(Any, SimpleNamespace(file=SimpleNamespace(src_uri="index.md")))
    link = '<a href="https://arxiv.org/abs/2010.13527">source</a> <img src="images/report.png">'
    assert generate.on_post_page(link, page, cast(Any, None)) == link
    with pytest.raises(PluginError, match=r"index\.md loads something from another host: <script src"):
        generate.on_post_page('<script src="https://unpkg.com/mermaid.js">', page, cast(Any, None))


def test_the_notebook_becomes_text_code_and_output(generate: ModuleType) -> None:
    page = generate.notebook_page(ROOT / "docs" / "estimator.ipynb")
    assert page.startswith("# ")
    assert "```python\n" in page
    assert "```text\n" in page
    assert 'src="data:image/png;base64,' in page


COMMANDS = [
    pytest.param(line.strip(), id=f"{path.name}: {line.split('#')[0].strip()}")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for line in path.read_text(encoding="utf-8").splitlines()
    if re.match(r"(    )?pbt-disent [a-z]+( |$)", line) and "*population*" not in line
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_the_pages_exists_with_its_options(command: str) -> None:
    assert check_command(command) == "pbt-disent"


def test_doctests_are_fenced_wherever_they_stand(load_hook: Callable[[str], ModuleType]) -> None:
    text = "Return 1.\n\n>>> one()\n1\n\nArgs:\n    x: The x.\n\nExample:\n    >>> two(\n    ...     2)\n    2\n"
    assert load_hook("docstrings").fence_examples(text) == (
        "Return 1.\n\n```pycon\n>>> one()\n1\n```\n\nArgs:\n    x: The x.\n\nExamples:\n"
        "    ```pycon\n    >>> two(\n    ...     2)\n    2\n    ```\n"
    )


def test_the_component_on_the_page_about_extending_works() -> None:
    page = (ROOT / "docs" / "reference" / "extending.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    code += """
from pbt_disent.config import load_config

changes = ["population.exploit.name=copy-the-best", "population.exploit.cutoff=0.3"]
exploit = load_config("demo", changes).population.exploit
print(exploit.select(Ranking([0.1, 0.9, 0.5, 0.7, None, 0.6], [()] * 6), None), exploit.dump())
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "{0: 1} {'name': 'copy-the-best', 'cutoff': 0.3}\n"
