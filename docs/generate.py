"""The pages that are made while the site is built: a hook of MkDocs, named in mkdocs.yml.

What the code declares is written nowhere else: the options from the config and the components, the commands from the
command line, the worked example from its notebook. The changelog and the contributor's page are those of the
repository.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from inspect import cleandoc, isclass, isfunction
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.main import get_command
from typer.testing import CliRunner

if TYPE_CHECKING:
    from pbt_disent.cli.options import Option

ROOT = Path(__file__).parents[1]
REMOTE = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//", re.IGNORECASE)
OPTIONS_HEAD = """# Options

A config is a YAML file, a preset, or either of them with single values changed by `--set KEY=VALUE`, such as
`--set population.size=16`. Unknown keys and values out of bounds are refused in one line.

What is chosen by name is a *component* with options of its own. A config gives its name, or a mapping of its name and
its options:

```yaml
population:
  exploit: truncation
  fitness: {name: udr, alpha: 0.05}
```

An objective's hyperparameter is searched within its bounds: `lr: {low: 1e-4, high: 1e-3}` narrows them,
`batch_size: {choices: [64, 128]}` lists the values, and `beta: 6` fixes it. `pbt-disent options [KIND [NAME]]` prints
what is below."""
METRICS_HEAD = """# Metrics

Every metric is a pure function of arrays and returns a frozen result with all its parts; `score` computes several at
once. `pbt-disent score` does the same for a model or for a file of anyone's codes, with intervals
([how](../results.md#how-sure-a-score-is))."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {
        "reference/options.md": options_page(),
        "reference/command-line.md": commands_page(),
        "reference/metrics.md": metrics_page(),
        "estimator.md": notebook_page(ROOT / "docs" / "estimator.ipynb"),
        "changelog.md": repository_page("CHANGELOG.md"),
        "contributing.md": repository_page("CONTRIBUTING.md"),
    }
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that would load anything from another host."""
    remote = REMOTE.search(output)
    if remote:
        raise PluginError(f"{page.file.src_uri} loads something from another host: {remote.group()}")
    return output


def repository_page(name: str) -> str:
    """Return a page of the repository's top folder; its links into docs/ become links within the site."""
    return (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")


def notebook_page(path: Path) -> str:
    """Return a notebook as Markdown: its texts, its code, and what the code printed or drew."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                image = "".join(data["image/png"]).replace("\n", "")
                parts.append(f'<img alt="What the code above draws." src="data:image/png;base64,{image}">')
            else:
                parts.append(f"```text\n{''.join(output.get('text') or data.get('text/plain', [])).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def metrics_page() -> str:
    """Return the directives for every public function of the metrics, each followed by the result that it returns.

    They are named by their modules, since a metric's module is called like the metric: `pbt_disent.metrics.mig.mig`.
    """
    from pbt_disent import metrics

    public = {name: getattr(metrics, name) for name in metrics.__all__}
    documented: dict[str, None] = {}
    for value in filter(isfunction, public.values()):
        documented[f"{value.__module__}.{value.__qualname__}"] = None
        result = public.get(str(value.__annotations__.get("return")))
        if result is not None:
            documented[f"{result.__module__}.{result.__qualname__}"] = None
    for value in filter(isclass, public.values()):
        documented.setdefault(f"{value.__module__}.{value.__qualname__}")
    directives = [f"::: {path}\n    options:\n      heading_level: 2" for path in documented]
    return "\n\n".join([METRICS_HEAD, *directives]) + "\n"


def commands_page() -> str:
    """Return the help of every verb."""
    from pbt_disent.cli.app import PROGRAM, app

    def help_of(*words: str) -> str:
        result = CliRunner().invoke(app, [*words, "--help"], prog_name=PROGRAM, terminal_width=110)
        return f"```text\n{result.output.strip()}\n```"

    parts = [
        "# Command line",
        "What `pbt-disent VERB --help` prints. Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped.",
        help_of(),
    ]
    for name, command in get_command(app).commands.items():
        parts += [f"## {name}", help_of(name)]
        for nested in getattr(command, "commands", {}):
            parts += [f"### {name} {nested}", help_of(name, nested)]
    return "\n\n".join(parts) + "\n"


def options_page() -> str:
    """Return every option of the config and of all components that it can name."""
    from pbt_disent.config import Config
    from pbt_disent.data.loading import ViewOptions
    from pbt_disent.registry import KINDS

    parts = [OPTIONS_HEAD, "## The config", option_table(Config)]
    for name, section in sections(Config):
        parts += [f"## {name}", summary_of(section), option_table(section)]
    for kind in KINDS:
        parts += [f"## {kind.capitalize()} {{#{kind}}}"]
        if kind in ("reader", "world"):
            parts += ["Besides their own options, all readers and worlds take:", option_table(ViewOptions)]
        parts += component_parts(kind)
    return "\n\n".join(part for part in parts if part) + "\n"


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the sections below a model of the config, with their dotted names."""
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is not None:
            yield prefix + name, section
            yield from sections(section, f"{prefix}{name}.")


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the section that a field of the config holds, if it holds one."""
    from pbt_disent.config.sections import Section

    for annotation in (field.annotation, *get_args(field.annotation)):
        if isclass(annotation) and issubclass(annotation, Section):
            return annotation
    return None


def component_parts(kind: str) -> Iterator[str]:
    """Yield heading, description and options of every component of a kind."""
    from pbt_disent.registry import components, options_class

    registry = components(kind)
    for name in registry:
        options = options_class(registry[name])
        yield f"### {name} {{#{kind}-{name}}}"
        yield summary_of(registry[name])
        yield (option_table(options) if options is not None else "") or "No options."


def summary_of(documented: type) -> str:
    """Return the first paragraph of a docstring."""
    return cleandoc(documented.__doc__ or "").split("\n\n")[0]


def option_table(model: type[BaseModel]) -> str:
    """Return the options of a model as a table, sections left out."""
    from pbt_disent.cli.options import describe_options

    rows = [
        f"| `{option.name}` | {value_text(option)} | `{option.default}` | {table_text(option.description)} |"
        for option in describe_options(model)
        if section_of(model.model_fields[option.name]) is None
    ]
    if not rows:
        return ""
    return "\n".join(["| option | value | default | |", "| --- | --- | --- | --- |", *rows])


def value_text(option: Option) -> str:
    """Return what an option takes, with its bounds, or with a link to the components of its kind."""
    if option.kind is not None:
        return f"[{option.kind}](#{option.kind})" + (" or null" if option.type.endswith(" or null") else "")
    if option.type == "anything":
        return "[objective](#objective), or a list of several"
    return table_text(", ".join(filter(None, [option.type, option.bounds])))


def table_text(text: str) -> str:
    """Return a text as that of a table's cell."""
    return text.replace("|", "\\|")
