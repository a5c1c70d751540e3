"""Read a config: a preset or a file, then single values set by hand; the first mistake becomes one line."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pbt_disent.config.sections import ObjectiveConfig
from pbt_disent.config.tree import Config
from pbt_disent.errors import UserError, nearest

__all__ = ["load_config", "override", "preset_names", "read_yaml", "validate", "write_yaml"]

IN_EVERY_OBJECTIVE = ("latents", "lr", "batch_size")


def preset_names() -> list[str]:
    """Return the names of the presets that ship with the package."""
    folder = resources.files("pbt_disent") / "presets"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_config(source: str | Path | dict[str, Any] | None = None, overrides: list[str] | None = None) -> Config:
    """Read a preset by name or a YAML file by path, then apply overrides.

    Args:
        source: preset name, path of a YAML file, or a whole tree, which is changed; none for the defaults.
        overrides: each ``a.b=c``, the value in YAML. ``objective=NAME`` (or a list of names) keeps the latents,
            learning rate and batch size of the one that it replaces, which every objective has, and nothing else.

    Raises:
        UserError: no such preset or file, broken YAML, an unknown key, or a value out of bounds.
    """
    tree = source if isinstance(source, dict) else {} if source is None else _parse(str(source), _read(source))
    for change in overrides or []:
        _set(tree, change)
    return validate(tree)


def override(key: str, value: object) -> str:
    """Return ``key=value`` for `load_config`, whatever characters the value has.

    Args:
        key: such as ``data.name``.
        value: a text, number, truth value, list or mapping.
    """
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


class _Loader(yaml.SafeLoader):
    """Reads ``1e-3`` as the number that it is: YAML 1.1, which PyYAML knows, wants a point in it."""


class _Dumper(yaml.SafeDumper):
    """Puts a text that `_Loader` would read as a number, such as a folder called ``1e3``, between quotes."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def read_yaml(text: str) -> Any:
    """Return what a YAML document says, as plain values.

    Raises:
        yaml.YAMLError: it is none.
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
        raise _explain(error) from None


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
            child = node[key] = {"name": child} if key in {"objective", "data"} else {}
        node = child
    try:
        value = read_yaml(text)
    except yaml.YAMLError:
        raise UserError(f"--set {change}", "must have a value in YAML", "quote it") from None
    if keys == ["objective"] and isinstance(given := tree.get("objective"), dict):
        kept = {key: given[key] for key in IN_EVERY_OBJECTIVE if key in given}
        several = value if isinstance(value, list) else [value]
        filled = [{"name": one, **kept} if isinstance(one, str) else one for one in several]
        value = filled if isinstance(value, list) else filled[0]
    node[keys[-1]] = value


def _explain(error: ValidationError) -> UserError:
    first = error.errors(include_url=False)[0]
    alternatives = {ObjectiveConfig.__name__, f"tuple[{ObjectiveConfig.__name__},...]"}  # pydantic names what it tried
    location = ".".join(str(part) for part in first["loc"] if part not in alternatives)
    if first["type"] == "extra_forbidden":
        known = _fields(first["loc"][:-1])
        return UserError(f"key {location!r}", "is unknown", nearest(str(first["loc"][-1]), known))
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if not location:
        key, _, rule = message.partition(" ")
        return UserError(key, rule, "change it in the config or with --set")
    return UserError(f"{location}={first['input']!r}", message, "change it in the config or with --set")


def _fields(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys known at a place in the tree."""
    model: type[BaseModel] = Config
    for part in location:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        sections = [one for one in (annotation, *get_args(annotation)) if _is_section(one)]
        if not sections:
            return []
        model = sections[0]
    return list(model.model_fields)


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
