"""The verb `options`: what can be chosen by name, and the options of each choice, as the components declare them."""

from __future__ import annotations

import json
import types
from dataclasses import asdict, dataclass
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

from pbt_disent.cli.app import verb
from pbt_disent.cli.arguments import AsJson

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from pbt_disent.registry import Choice

__all__ = ["Option", "describe_component", "describe_options", "options"]

BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "min_length": "length at least"}


@dataclass(frozen=True)
class Option:
    """One option of a component, in words.

    Args:
        name: The key in a config.
        type: What a value must be, such as ``number`` or ``text or null``.
        kind: The kind of component that the option holds; None where it holds none.
        default: The default as YAML writes it; ``required`` where there is none.
        bounds: The limits of a value, such as ``at least 0, at most 0.5``; empty where there are none.
        description: What the option does.
    """

    name: str
    type: str
    kind: str | None
    default: str
    bounds: str
    description: str


def _complete_kinds(incomplete: str) -> list[str]:
    from pbt_disent.registry import KINDS

    return [kind for kind in KINDS if kind.startswith(incomplete)]


def _complete_names(context: typer.Context, incomplete: str) -> list[str]:
    from pbt_disent.registry import KINDS, components

    kind = context.params.get("kind")
    return [name for name in components(kind) if name.startswith(incomplete)] if kind in KINDS else []


@verb("options", "options exploit", "options objective betatcvae", "options objective betatcvae --json")
def options(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="A kind of components, such as exploit.", autocompletion=_complete_kinds),
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A component of that kind.", autocompletion=_complete_names),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what can be chosen by name, and the options of a choice.

    Without arguments, the kinds of components are listed with the names of each; with a kind, its components; with a
    name, the options of that component.
    """
    from pbt_disent.registry import KINDS, components

    if kind is None:
        names = {each: list(components(each)) for each in KINDS}
        _print(names, {each: ", ".join(known) for each, known in names.items()}, as_json=as_json)
    elif name is None:
        summaries = {each: describe_component(components(kind)[each])[0] for each in components(kind)}
        _print(summaries, summaries, as_json=as_json)
    else:
        _print_component(kind, name, as_json=as_json)


def _print(document: object, lines: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(document, indent=1, ensure_ascii=False))
        return
    width = max(map(len, lines), default=0)
    for name, text in lines.items():
        print(f"{name:{width}}  {text}".rstrip())


def _print_component(kind: str, name: str, *, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from pbt_disent.registry import components, options_class

    component = components(kind)[name]
    model = options_class(component)
    rows = [] if model is None else describe_options(model)
    summary, details = describe_component(component)
    if as_json:
        document = {"kind": kind, "name": name, "summary": summary, "options": [asdict(row) for row in rows]}
        print(json.dumps(document, indent=1, ensure_ascii=False))
        return
    print(f"{kind} {name}: {summary}")
    if details:
        print(f"\n{details}")
    print()
    if not rows:
        print("It has no options.")
        return
    table = Table("option", "type", "default", "bounds", "description", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.name, row.type, row.default, row.bounds, row.description)
    console = Console(markup=False, highlight=False)
    console = console if console.is_terminal else Console(width=140, markup=False, highlight=False)
    console.print(table)


def describe_component(component: object) -> tuple[str, str]:
    """Return the summary of a component in one sentence, and the rest of its description.

    Args:
        component: What a registry holds: a class with a docstring, or an object with a `description`.
    """
    text = getattr(component, "description", None) or getattr(component, "__doc__", None) or ""
    summary, _, details = cleandoc(str(text)).partition("\n\n")
    details = "" if details.startswith(("Args:", "Attributes:")) else details.partition("\n\nArgs:")[0]
    return " ".join(summary.split()), details.partition("\n\nAttributes:")[0]


def describe_options(model: type[BaseModel]) -> list[Option]:
    """Return the options that a component declares.

    Args:
        model: The model whose fields are the options.

    >>> from pydantic import BaseModel, Field
    >>> class Truncation(BaseModel):
    ...     cutoff: float = Field(0.2, ge=0, le=0.5, description="The share of the members that is replaced.")
    >>> (cutoff,) = describe_options(Truncation)
    >>> cutoff.type, cutoff.default, cutoff.bounds
    ('number', '0.2', 'at least 0, at most 0.5')
    """
    return [
        Option(
            name=name,
            type=_type_text(field),
            kind=None if (choice := _choice(field)) is None else choice.kind,
            default=_default_text(field),
            bounds=_bounds_text(field),
            description=" ".join((field.description or "").split()),
        )
        for name, field in model.model_fields.items()
    ]


def _choice(field: FieldInfo) -> Choice | None:
    from pbt_disent.registry import Choice

    return next((mark for mark in field.metadata if isinstance(mark, Choice)), None)


def _type_text(field: FieldInfo) -> str:
    choice = _choice(field)
    if choice is None:
        return _annotation_text(field.annotation)
    return f"name of one {choice.kind}, or its name and options" + (" or null" if choice.optional else "")


def _annotation_text(annotation: Any) -> str:
    """Return a type in the words of a reader of YAML."""
    from pbt_disent.config import Hyperparameter

    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Hyperparameter:
        return "number or range"
    if annotation is Any:
        return "anything"
    if origin is Annotated:
        return _annotation_text(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(_annotation_text(part) for part in arguments)
    if origin in (list, tuple, set, frozenset):
        return "list" if arguments[0] is Any else f"list of {_annotation_text(arguments[0])}"
    names = {
        str: "text", int: "whole number", float: "number", bool: "true | false", Path: "path", type(None): "null"
    }  # fmt: skip
    return names.get(annotation, "mapping")


def _default_text(field: FieldInfo) -> str:
    from pydantic import BaseModel

    from pbt_disent.config import Hyperparameter

    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, Hyperparameter):
        return f"{default.default:g}"
    if isinstance(default, BaseModel):
        default = default.model_dump(mode="json")
    return default if isinstance(default, str) and default else json.dumps(default, ensure_ascii=False, default=list)


def _bounds_text(field: FieldInfo) -> str:
    from pbt_disent.config import Hyperparameter

    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if isinstance(default, Hyperparameter):
        scale = ", on a logarithmic scale" if default.log else ""
        return f"at least {default.low:g}, at most {default.high:g}{scale}"
    limits = [(word, getattr(mark, key, None)) for mark in field.metadata for key, word in BOUNDS.items()]
    return ", ".join(f"{word} {limit:g}" for word, limit in limits if limit is not None)
