"""What of a run's config may change before it is resumed."""

from __future__ import annotations

from pbt_disent.config import Config, load_config
from pbt_disent.errors import UserError
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.types import Json

__all__ = ["extend"]

EXTENDABLE = ("population.max_generations", "rounds.leaf_max_generations", "final.generations")
CHANGEABLE = ("resources.", "tracking.")


def extend(folder: RunFolder, overrides: list[str]) -> Config:
    """Change a run's config before it is resumed, where that cannot change what is on record.

    Numbers of generations may grow; resources and tracking may change.

    Raises:
        UserError: any other change.
    """
    before = folder.config()
    if not overrides:
        return before
    after = load_config(folder.path / "config.yaml", overrides)
    old, new = _flat(before.dump()), _flat(after.dump())
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) == new.get(key) or key.startswith(CHANGEABLE):
            continue
        given = f"--set {key}={new.get(key)}"
        if key not in EXTENDABLE:
            raise UserError(given, "may not change in a resumed run", "start a new run with it")
        if old.get(key) is not None and (new.get(key) is None or new[key] < old[key]):
            raise UserError(given, f"may only grow beyond {old[key]}", "start a new run with it")
    folder.write_config(after)
    folder.describe(config_digest=after.digest)
    return after


def _flat(tree: Json, prefix: str = "") -> Json:
    flat: Json = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
