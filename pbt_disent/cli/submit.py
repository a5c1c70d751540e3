"""Submit a run to a Ray cluster, which starts it again when something below it fails."""

from __future__ import annotations

import argparse
import itertools
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pbt_disent.cli.common import add_config_arguments, config_of
from pbt_disent.cli.remote import add_dashboard, connect
from pbt_disent.config import Config, write_yaml
from pbt_disent.errors import UserError
from pbt_disent.store.filesystem import is_uri, join_location, open_files
from pbt_disent.store.run_folder import refuse_secrets

__all__ = ["add_arguments", "call"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_config_arguments(parser)
    add_dashboard(parser)
    parser.add_argument(
        "--runs",
        default=str(Path("runs").resolve()),
        metavar="FOLDER",
        help="folder or URI of all runs, seen by all nodes of the cluster (%(default)s)",
    )
    parser.add_argument("--name", help="name of the run (default: the preset and the first free number)")
    parser.add_argument(
        "--working-dir", type=Path, metavar="FOLDER", help="carry this folder along: the run starts in it"
    )
    parser.add_argument("--retries", type=int, default=3, help="failures in a row that are made up for (%(default)s)")


def call(options: argparse.Namespace) -> int:
    """Write the resolved config, carry it to the cluster, and say how to go on."""
    preset, config = config_of(_of_the_cluster(options))
    config = config.model_copy(
        update={
            "resources": config.resources.model_copy(
                update={"address": None, "allow_unauthenticated": options.allow_unauthenticated}
            )
        }
    )
    if not is_uri(options.runs) and not Path(options.runs).is_absolute():
        raise UserError(f"--runs {options.runs}", "must be an absolute path that all nodes see", "write it in full")
    open_files(options.runs)
    refuse_secrets(config)
    if options.retries < 0:
        raise UserError(f"--retries {options.retries}", "must be at least 0", "leave it out")
    if options.working_dir is not None and not options.working_dir.is_dir():
        raise UserError(f"--working-dir {options.working_dir}", "must be a folder", "check the path")
    if options.name is not None and not NAME.fullmatch(options.name):
        raise UserError(f"--name {options.name}", "must have letters, digits, - and _ only", "choose another")
    _check_data(config, options.working_dir)
    jobs = connect(options)
    name = options.name or _free(preset, (job.run for job in jobs.all()))
    with tempfile.TemporaryDirectory(prefix="pbt-disent-") as temporary:
        files = Path(temporary) / "files"
        if options.working_dir is None:
            files.mkdir()
        else:
            shutil.copytree(options.working_dir, files)
        file = f"{re.sub('[^A-Za-z0-9_-]', '-', preset)}.yaml"
        (files / file).write_text(write_yaml(config), encoding="utf-8")
        jobs.submit(name, preset, options.runs, files, ["--config", file, "--retries", str(options.retries)])
    print(f"Submitted {name} to {jobs.address}; its folder there will be {join_location(options.runs, name)}")
    print(f"Next    pbt-disent status {name} --address {jobs.address}      (or logs --follow, stop, resume)")
    return 0


def _of_the_cluster(options: argparse.Namespace) -> argparse.Namespace:
    """Keep the dashboard's address out of the config: the run itself is told by Ray which cluster it is in."""
    return argparse.Namespace(**{**vars(options), "address": None, "allow_unauthenticated": None})


def _check_data(config: Config, working_dir: Path | None) -> None:
    """Refuse a file that lies here and would not be there."""
    name = config.data.name
    if Path(name).is_absolute() or not Path(name).exists():
        return
    if working_dir is None or not (working_dir / name).exists():
        raise UserError(
            f"data {name}",
            "is a path on this machine that the cluster does not see",
            "give an absolute path that all nodes see, or carry its folder along with --working-dir",
        )


def _free(preset: str, taken: Iterable[str]) -> str:
    stem, names = re.sub(r"[^A-Za-z0-9_-]", "-", preset), set(taken)
    return next(name for number in itertools.count(1) if (name := f"{stem}-{number}") not in names)
