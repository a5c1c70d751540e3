"""The pages that are made while the site is built: a hook of MkDocs, named in mkdocs.yml.

What the code declares is written nowhere else: the options from the config and the components, the commands from the
command line, the worked example from its notebook. The changelog and the contributor's page are those of the
repository.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Mapping
from inspect import cleandoc, isclass, isfunction
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.main import get_command
from typer.testing import CliRunner

from pbt_disent.config import Hyperparameter
from pbt_disent.registry import Choice, Component

ROOT = Path(__file__).parents[1]
REMOTE = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//", re.IGNORECASE)
METRICS_HEAD = """# Metrics

Every metric is a pure function of arrays and returns a frozen result with all its parts; `score` computes several at
once. `pbt-disent score` does the same for a model or for a file of anyone's codes, with intervals
([how](../results.md#how-sure-a-score-is))."""
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥"}


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
    """Return every option of the config and of all that is chosen in it by name."""
    from pbt_disent.config import Config

    parts = [
        "# Options",
        "A config is a YAML file, a preset, or both with `--set KEY=VALUE` on top: "
        "`--set population.size=16`. Unknown keys and values out of bounds are refused in one line.",
        "## The config",
        option_table(Config),
    ]
    for name, section in sections(Config):
        parts += [f"## {name}", cleandoc(section.__doc__ or ""), option_table(section)]
    parts += list(component_parts())
    return "\n\n".join(parts) + "\n"


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the sections below a model of the config, with their dotted names."""
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        if section is not None and not is_component(section):
            yield prefix + name, section
            yield from sections(section, f"{prefix}{name}.")


def section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a field holds, if it holds one."""
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def is_component(model: type[BaseModel]) -> bool:
    """Return whether a field with this model holds a component: a name, and the component's own options."""
    return model is Hyperparameter or issubclass(model, Component)


def option_table(model: type[BaseModel]) -> str:
    """Return the fields of a model as a table, sections left out."""
    rows = [
        f"| `{name}` | {type_text(field)} | {default_text(field)} | {sentence(field.description)} |"
        for name, field in model.model_fields.items()
        if (section := section_of(field.annotation)) is None or is_component(section)
    ]
    if not rows:
        return ""
    return "\n".join(["| key | value | default | |", "| --- | --- | --- | --- |", *rows])


def type_text(field: FieldInfo) -> str:
    """Return what a field takes, with its bounds."""
    bounds = [
        f"{sign} {getattr(item, attribute):g}"
        for item in field.metadata
        for attribute, sign in BOUNDS.items()
        if getattr(item, attribute, None) is not None
    ]
    choice = next((item for item in field.metadata if isinstance(item, Choice)), None)
    if choice is not None:
        return f"[{choice.kind}](#{choice.kind}): a name, or `{{name: …, option: …}}`"
    return ", ".join([annotation_text(field.annotation), *bounds])


def annotation_text(annotation: Any) -> str:
    """Return a type as a reader of YAML would name it."""
    if annotation is Hyperparameter:
        return "number, or `{low: …, high: …}`, or `{choices: […]}`"
    if section_of(annotation) is not None:
        return "a name, or `{name: …, option: …}`"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " \\| ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(annotation_text(part) for part in arguments)
    if origin is tuple or origin is list:
        return f"list of {annotation_text(arguments[0])}"
    if annotation is type(None):
        return "null"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
    return names.get(annotation, "mapping" if origin in (dict, Mapping) or annotation is dict else str(annotation))


def default_text(field: FieldInfo) -> str:
    """Return the default as YAML writes it."""
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, BaseModel):
        default = default.model_dump(mode="json")
        if isinstance(default, dict) and default.keys() == {"name"}:
            default = default["name"]
    return f"`{json.dumps(default, ensure_ascii=False, default=list)}`"


def sentence(text: str | None) -> str:
    """Return a description as a sentence in a table's cell."""
    if not text:
        return ""
    text = " ".join(text.split()).replace("|", "\\|")
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def component_parts() -> Iterator[str]:
    """Yield the options of every component, kind by kind."""
    from pbt_disent.data.loading import ViewOptions
    from pbt_disent.registry import KINDS, components

    for kind in KINDS:
        yield f"## {kind.capitalize()}"
        yield f"What can stand for {'an' if kind[0] in 'aeiou' else 'a'} {kind}, by name:"
        if kind == "reader":
            yield "The options of all readers and worlds:"
            yield option_table(ViewOptions)
        for name in components(kind):
            yield f"### {kind}: {name}"
            yield cleandoc(components(kind)[name].__doc__ or "").split("\n\n")[0]
            yield option_table(components(kind).options(name)) or "No options."
