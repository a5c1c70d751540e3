"""Read a config: a preset or a file, then single values set by hand; the first mistake becomes one line."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pbt_disent.config.tree import Config
from pbt_disent.errors import UserError, nearest
from pbt_disent.registry import KINDS, first_mistake

__all__ = ["load_config", "override", "preset_names", "read_yaml", "validate", "write_yaml"]

IN_EVERY_OBJECTIVE = ("latents", "lr", "batch_size")
"""The options that an objective takes over from the one that it replaces."""

NAMED = {*KINDS, "data", "lr_schedule"}
"""The keys whose value may be a name alone, to which options are added one by one."""


def preset_names() -> list[str]:
    """Return the names of the presets that ship with the package."""
    folder = resources.files("pbt_disent") / "presets"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_config(source: str | Path | dict[str, Any] | None = None, overrides: list[str] | None = None) -> Config:
    """Read a preset by name or a YAML file by path, then apply overrides.

    >>> config = load_config("demo", ["population.size=6", "objective.beta=4"])
    >>> config.population.size, config.method
    (6, 'rpu-vae')

    Args:
        source: The name of a preset, the path of a YAML file, or a whole tree, which is changed. None stands for the
            defaults.
        overrides: The values to set, each of the form ``a.b=c`` with the value in YAML. ``objective=NAME`` (or a list
            of names) keeps the latents, learning rate and batch size of the objective that it replaces, which every
            objective has, and nothing else.

    Raises:
        UserError: There is no such preset or file, the YAML is broken, a key is unknown, or a value is out of bounds.
    """
    tree = source if isinstance(source, dict) else {} if source is None else _parse(str(source), _read(source))
    for change in overrides or []:
        _set(tree, change)
    return validate(tree)


def override(key: str, value: object) -> str:
    """Return ``key=value`` for `load_config`, whatever characters the value has.

    Args:
        key: The key, such as ``data.name``.
        value: The value: a text, number, truth value, list or mapping.

    >>> override("data.name", "my images.npz")
    'data.name="my images.npz"'
    """
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


class _Loader(yaml.SafeLoader):
    """Reads ``1e-3`` as a number; in YAML 1.1, as PyYAML reads it, a number needs a point."""


class _Dumper(yaml.SafeDumper):
    """Puts a text that `_Loader` would read as a number, such as a folder called ``1e3``, between quotes."""


for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def read_yaml(text: str) -> Any:
    """Return what a YAML document says, as plain values.

    Raises:
        yaml.YAMLError: The text is no YAML document.
    """
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def write_yaml(config: Config) -> str:
    """Return a config as a YAML document that gives it back, read by `load_config` or any reader of YAML."""
    return yaml.dump(config.dump(), Dumper=_Dumper, sort_keys=False)


def validate(tree: dict[str, Any]) -> Config:
    """Build the config from plain values; the first mistake becomes one `UserError`."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise first_mistake(error, Config).to_user_error() from None


def _read(source: str | Path) -> str:
    path = Path(source)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise UserError(f"config {path}", f"must be a readable YAML file ({reason})", "check the path") from None
    preset = resources.files("pbt_disent") / "presets" / f"{source}.yaml"
    if not preset.is_file():
        raise UserError(
            f"preset {str(source)!r}", "is no known preset and no YAML file", nearest(str(source), preset_names())
        )
    return preset.read_text(encoding="utf-8")


def _parse(name: str, text: str) -> dict[str, Any]:
    try:
        tree = read_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(
            f"config {name}", f"must be valid YAML ({' '.join(str(error).split())})", "mend the file"
        ) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"config {name}", "must be a mapping of sections", "start from a preset")
    return tree


def _set(tree: dict[str, Any], change: str) -> None:
    path, separator, text = change.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise UserError(
            f"--set {change}", "must have the form section.key=value", "for example --set population.size=8"
        )
    node = tree
    for key in keys[:-1]:
        child = node.setdefault(key, {})
        if isinstance(child, list):
            rule, remedy = f"is for one of several in {key}, without saying which", f"describe each in {key}=[...]"
            raise UserError(f"--set {change}", rule, remedy)
        if not isinstance(child, dict):
            child = node[key] = {"name": child} if key in NAMED and isinstance(child, str) else {}
        node = child
    try:
        value = read_yaml(text)
    except yaml.YAMLError:
        raise UserError(f"--set {change}", "must have a value in YAML", "quote it") from None
    if keys == ["objective"] and isinstance(before := tree.get("objective"), dict):
        kept = {key: before[key] for key in IN_EVERY_OBJECTIVE if key in before}
        objectives = value if isinstance(value, list) else [value]
        filled = [{"name": item, **kept} if isinstance(item, str) else item for item in objectives]
        value = filled if isinstance(value, list) else filled[0]
    node[keys[-1]] = value
