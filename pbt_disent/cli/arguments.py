"""Arguments and options that several verbs share, each with its help, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pbt_disent.errors import UserError

if TYPE_CHECKING:
    from pbt_disent.config import Config

__all__ = [
    "DEFAULT_DASHBOARD",
    "AsJson",
    "Changes",
    "ConfigName",
    "Cpus",
    "Dashboard",
    "Data",
    "DataOptions",
    "Gpus",
    "ImagesToEncode",
    "Memory",
    "ModelReference",
    "NewName",
    "RayAddress",
    "RunReference",
    "Runs",
    "SubmittedRun",
    "Unauthenticated",
    "parse_options",
    "read_config",
    "resource_overrides",
]


def _complete_presets(incomplete: str) -> list[str]:
    from pbt_disent.config import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def _complete_runs(incomplete: str) -> list[str]:
    names = (entry.parent.name for entry in Path("runs").glob("*/run.json"))
    return sorted(name for name in names if name.startswith(incomplete))


ConfigName = Annotated[
    str | None,
    typer.Argument(
        metavar="CONFIG",
        help="A preset or a YAML file; by default demo, or auto where --data is given.",
        autocompletion=_complete_presets,
    ),
]
RunReference = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="The path of a run, or its name in the folder of runs.", autocompletion=_complete_runs
    ),
]
SubmittedRun = Annotated[str, typer.Argument(metavar="RUN", help="The name of a submitted run.")]
ModelReference = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A run, a model folder, or runs:/<run id>/model or models:/<name>/<version> in MLflow.",
        autocompletion=_complete_runs,
    ),
]
Data = Annotated[
    str | None, typer.Option("--data", metavar="DATA", help="A rendered world by name, or a data file or folder.")
]
ImagesToEncode = Annotated[
    str | None,
    typer.Option("--data", metavar="DATA", help="The images to encode with the model; by default those of its run."),
]
DataOptions = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set an option of the data, such as size=32; may be repeated."),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one value of the config, such as seed=1; may be repeated."),
]
Cpus = Annotated[str | None, typer.Option("--cpus", metavar="N", help="Use at most so many CPUs.")]
Gpus = Annotated[str | None, typer.Option("--gpus", metavar="N", help="Use so many GPUs; by default all visible ones.")]
Memory = Annotated[str | None, typer.Option("--memory", metavar="GIB", help="Use at most so much memory.")]
RayAddress = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="Join the Ray that runs there; auto is the one on this node."),
]
Unauthenticated = Annotated[
    bool, typer.Option("--allow-unauthenticated", help="Use a cluster even if anyone who reaches it may use it.")
]
Dashboard = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="URL",
        envvar="RAY_API_SERVER_ADDRESS",
        help="The dashboard of the cluster, best through a tunnel.",
    ),
]
DEFAULT_DASHBOARD = "http://127.0.0.1:8265"
Runs = Annotated[str, typer.Option("--runs", metavar="FOLDER", help="The folder or URI of all runs.")]
NewName = Annotated[
    str | None,
    typer.Option("--name", help="The name of the new run; by default that of the preset and the first free number."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def read_config(name: str | None, data: str | None, overrides: list[str]) -> tuple[str, Config]:
    """Return the name of the config that the arguments ask for, and the config.

    Args:
        name: A preset or a YAML file.
        data: The data that replace those of the config.
        overrides: Single values of the config, as ``key=value``.

    Raises:
        UserError: There is no such config, or one of its values is not allowed.
    """
    from pbt_disent.config import load_config, override

    if name == "auto" and data is None:
        raise UserError("preset auto", "needs images", "name them with --data")
    if data is not None and name in {None, "auto"}:
        from pbt_disent.automatic import automatic_config
        from pbt_disent.cli.progress import bar

        with bar("images") as progress:
            return "auto", automatic_config(data, overrides, progress)
    source = name or "demo"
    data_overrides = [] if data is None else [override("data.name", data)]
    return Path(source).stem, load_config(source, [*data_overrides, *overrides])


def resource_overrides(
    cpus: str | None,
    gpus: str | None,
    memory: str | None,
    address: str | None = None,
    allow_unauthenticated: bool = False,
) -> list[str]:
    """Return the options that concern the machine as overrides of the config."""
    values = {
        "resources.cpus": cpus,
        "resources.gpus": gpus,
        "resources.memory_gib": memory,
        "resources.address": address,
        "resources.allow_unauthenticated": allow_unauthenticated or None,
    }
    return [f"{key}={value}" for key, value in values.items() if value is not None]


def parse_options(pairs: list[str] | None) -> dict[str, Any]:
    """Return ``key=value`` pairs as options of a data source, with each value read as YAML.

    Raises:
        UserError: A pair has another form.
    """
    import yaml

    from pbt_disent.config import read_yaml

    options: dict[str, Any] = {}
    for pair in pairs or []:
        key, separator, text = pair.partition("=")
        try:
            value = read_yaml(text)
        except yaml.YAMLError:
            separator = ""
        if not separator or not key.isidentifier():
            raise UserError(
                f"--set {pair}", "must have the form key=value, the value in YAML", "for example --set size=32"
            )
        options[key] = value
    return options
