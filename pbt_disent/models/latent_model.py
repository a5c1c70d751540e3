"""A trained model as its users see it: images to named, ordered latents and back, saved as two plain files.

``model.safetensors`` holds the weights and ``model.json`` the rest: how to build the objective again, and the names of
the latents, which are ``f0``, ``f1``, ... until somebody names them. Checkpoints use the same format of tensors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pbt_disent.errors import UserError, nearest
from pbt_disent.files import write_atomically
from pbt_disent.models.build import build
from pbt_disent.models.contract import Objective, load_options
from pbt_disent.models.encoding import Encoded, encode
from pbt_disent.types import FloatArray, Json
from pbt_disent.units import shape_text

__all__ = [
    "FORMAT",
    "MODEL_PREFIX",
    "LatentModel",
    "check_latent_names",
    "default_latent_names",
    "model_header",
    "pack",
    "rename_latents",
    "saved_latent_names",
    "unpack",
]

FORMAT = 2
"""The version of the format of models and checkpoints."""
MODEL_PREFIX = "model/"
"""How the names of the objective's tensors begin in a checkpoint."""
WEIGHTS_FILE = "model.safetensors"
HEADER_FILE = "model.json"

_HEADER_KEY = "pbt_disent"
_LATENT_NAME = re.compile(r"[^\W\d][\w-]{0,63}")
_INDEX_COLUMN, _LOG_SIGMA_PREFIX = "index", "log_sigma_"
"""The other columns of a table of codes."""


class LatentModel:
    """A trained model: images to codes and back. `load` reads the one that a run left in its folder ``model``.

    >>> from pbt_disent.models import OBJECTIVES
    >>> options = OBJECTIVES.options("betatcvae")(latents=3).resolve((1, 32, 32))
    >>> objective = build(options, options.defaults, (1, 32, 32), 1000, generator=torch.Generator().manual_seed(0))
    >>> model = LatentModel(objective, ["x", "y", "size"])
    >>> codes = model.encode(np.zeros((5, 1, 32, 32), dtype=np.uint8))
    >>> codes.shape
    (5, 3)
    >>> model.traverse(codes[0], model.index("size"), np.linspace(-2, 2, 7)).shape
    (7, 1, 32, 32)

    Args:
        objective: The objective with its trained weights.
        latents: A name for each latent; the default is ``f0``, ``f1``, ...
        information: The information of each latent in nats, (Z,), as measured on the images on which the model was
            selected; the default is nan, for unknown.

    Raises:
        UserError: The names are not one for each latent, or not usable ones (`check_latent_names`).
    """

    def __init__(
        self, objective: Objective, latents: Sequence[str] | None = None, information: FloatArray | None = None
    ) -> None:
        self.objective = objective.eval().requires_grad_(False)
        size = int(objective.options.latents)
        self.latents = default_latent_names(size) if latents is None else list(latents)
        self.information = np.full(size, np.nan) if information is None else np.asarray(information, dtype=np.float64)
        if len(self.latents) != size or self.information.shape != (size,):
            raise UserError(f"{len(self.latents)} latent names", f"must be one for each of {size} latents", "give all")
        check_latent_names(self.latents)

    @classmethod
    def from_checkpoint(
        cls, content: bytes, latents: Sequence[str] | None = None, information: FloatArray | None = None
    ) -> LatentModel:
        """Return the model in a training checkpoint, which describes itself.

        Args:
            content: The bytes of the checkpoint.
            latents: A name for each latent; the default is ``f0``, ``f1``, ...
            information: The information of each latent in nats, (Z,); the default is nan, for unknown.

        Raises:
            UserError: These are no bytes of a checkpoint, or those of another format.
        """
        tensors, header = unpack(content, "the checkpoint")
        weights = {key.removeprefix(MODEL_PREFIX): t for key, t in tensors.items() if key.startswith(MODEL_PREFIX)}
        return cls(_rebuild(header, weights, "the checkpoint"), latents, information)

    @property
    def name(self) -> str:
        """The name of the objective."""
        return str(self.objective.options.name)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of the images that the model takes."""
        return self.objective.image_shape

    def index(self, latent: str) -> int:
        """Return the index of a latent.

        Args:
            latent: The name of the latent, or its index as text.

        Raises:
            UserError: There is no such latent.
        """
        if latent in self.latents:
            return self.latents.index(latent)
        if latent.isdecimal() and int(latent) < len(self.latents):
            return int(latent)
        raise UserError(f"latent {latent!r}", "is neither a latent nor the index of one", nearest(latent, self.latents))

    def encode(self, images: npt.NDArray[Any], batch: int = 256) -> npt.NDArray[np.float32]:
        """Return the codes of images, an array of shape (N, Z).

        Args:
            images: The images, (N, C, H, W), uint8 or floats in 0 to 1.
            batch: The number of images that are encoded at a time.

        Raises:
            UserError: The images have another shape than the model takes.
        """
        return self.posterior(images, batch).codes

    def posterior(self, images: npt.NDArray[Any], batch: int = 256) -> Encoded:
        """Return the codes, log standard deviations and information per latent of images.

        Args:
            images: The images, (N, C, H, W), uint8 or floats in 0 to 1.
            batch: The number of images that are encoded at a time.

        Raises:
            UserError: The images have another shape than the model takes.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.image_shape:
            expected = shape_text(self.image_shape)
            raise UserError(f"images of shape {images.shape}", f"must be N x {expected}", "convert them first")
        return encode(self.objective, images, batch=batch)

    def decode(self, codes: FloatArray, batch: int = 256) -> npt.NDArray[np.float32]:
        """Return the images of codes, an array of shape (N, C, H, W) in 0 to 1.

        Args:
            codes: The codes, (N, Z).
            batch: The number of codes that are decoded at a time.
        """
        device = next(self.objective.parameters()).device
        tensor = torch.from_numpy(np.ascontiguousarray(codes, dtype=np.float32)).to(device)
        with torch.no_grad():
            parts = [self.objective.decode(part).cpu().numpy() for part in torch.split(tensor, batch)]
        return np.concatenate(parts)

    def traverse(self, code: FloatArray, latent: int, values: FloatArray) -> npt.NDArray[np.float32]:
        """Return the images that are decoded where one latent of a code moves, (V, C, H, W) in 0 to 1.

        Args:
            code: The code, (Z,).
            latent: The index of the latent.
            values: The values to which the latent is set, (V,).
        """
        codes = np.tile(np.asarray(code, dtype=np.float32), (len(values), 1))
        codes[:, latent] = values
        return self.decode(codes)

    @property
    def weights(self) -> bytes:
        """The content of ``model.safetensors``; equal models have equal ones."""
        return pack(self.objective.state_dict(), {"format": FORMAT})

    def save(self, folder: Path | str) -> None:
        """Write ``model.safetensors`` and ``model.json`` into a folder, which is created."""
        folder = Path(folder)
        information = [None if np.isnan(value) else float(value) for value in self.information]
        header = {**model_header(self.objective), "latents": self.latents, "information": information}
        write_atomically(folder / WEIGHTS_FILE, self.weights)
        write_atomically(folder / HEADER_FILE, _header_bytes(header))

    @classmethod
    def load(cls, folder: Path | str) -> LatentModel:
        """Read a model that `save` wrote.

        Raises:
            UserError: The folder holds no model, or one of another format.
        """
        folder = Path(folder)
        try:
            header = _read_header(folder)
            content = (folder / WEIGHTS_FILE).read_bytes()
        except (OSError, ValueError) as error:
            raise UserError(
                f"model {folder}", f"must hold a saved model ({type(error).__name__})", "check the path"
            ) from None
        name = f"model {folder}"
        objective = _rebuild(header, unpack(content, name)[0], name)
        with _damage_explained(name):
            information = [np.nan if value is None else float(value) for value in header["information"]]
            return cls(objective, header["latents"], np.asarray(information))


def model_header(objective: Objective) -> Json:
    """Return what is needed, beside the tensors, to build an objective again."""
    return {
        "format": FORMAT,
        "objective": objective.options.name,
        "settings": objective.options.settings,
        "hyperparameters": objective.values,
        "image_shape": list(objective.image_shape),
        "dataset_size": objective.dataset_size,
    }


def _rebuild(header: Json, weights: dict[str, Tensor], name: str) -> Objective:
    with _damage_explained(name):
        if (version := header.get("format")) != FORMAT:
            remedy = "use a newer version" if isinstance(version, int) and version > FORMAT else "train it again"
            raise UserError(f"{name} of format {version}", f"must have format {FORMAT}", remedy)
        channels, height, width = header["image_shape"]
        options = load_options(header["objective"], header["settings"])
        shape, values = (channels, height, width), header["hyperparameters"]
        objective = build(options, values, shape, header["dataset_size"])
        objective.load_state_dict(weights)
    return objective


@contextmanager
def _damage_explained(name: str) -> Iterator[None]:
    """Say in one line that a header does not fit itself or its weights, as after an edit or a mixed copy."""
    try:
        yield
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(name, f"is damaged ({reason})", "copy it again, or export it anew") from error


def _read_header(folder: Path) -> Any:
    return json.loads((folder / HEADER_FILE).read_text(encoding="utf-8"))


def _header_bytes(header: Json) -> bytes:
    return (json.dumps(header, indent=2, sort_keys=True) + "\n").encode()


def pack(tensors: Mapping[str, Tensor], header: Json) -> bytes:
    """Return named tensors and a header as safetensors: equal content gives equal bytes, nothing executes on load.

    safetensors keeps metadata as an unordered map of strings, so the header is one string under one key.

    >>> tensors, header = unpack(pack({"weight": torch.ones(2)}, {"format": 2}))
    >>> tensors["weight"], header
    (tensor([1., 1.]), {'format': 2})

    Args:
        tensors: The tensors by name, on any device and in any memory layout.
        header: The header, a mapping of JSON values.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(plain, {_HEADER_KEY: json.dumps(header, sort_keys=True, separators=(",", ":"))})


def unpack(content: bytes, name: str = "the file") -> tuple[dict[str, Tensor], Json]:
    """Return the tensors (on the CPU) and the header of bytes made by `pack`.

    Args:
        content: The bytes.
        name: What they are called in messages.

    Raises:
        UserError: The bytes are no safetensors, or carry no header of this package.
    """
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(content)
        length = int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][_HEADER_KEY])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise UserError(name, f"must be a model of this package ({type(error).__name__})", "check the path") from None
    if not isinstance(header, dict):
        raise UserError(name, "must be a model of this package (its header is no mapping)", "check the path")
    return tensors, header


def default_latent_names(size: int) -> list[str]:
    """Return the names of latents that nobody has named: ``f0``, ``f1``, ..."""
    return [f"f{index}" for index in range(size)]


def check_latent_names(names: Sequence[str]) -> None:
    """Refuse names that cannot be columns, parts of file names and arguments.

    Raises:
        UserError: A name is taken twice, has characters other than letters, digits, ``_`` and ``-``, begins with no
            letter, or is that of another column of a table of codes.
    """
    for index, name in enumerate(names):
        if not _LATENT_NAME.fullmatch(name):
            raise UserError(
                f"latent name {name!r}",
                "must begin with a letter and go on with letters, digits, _ or -, 64 at most",
                "give a word such as rotation",
            )
        if name == _INDEX_COLUMN or name.startswith(_LOG_SIGMA_PREFIX):
            raise UserError(f"latent name {name!r}", "is the name of another column", "give a word such as rotation")
        if name in names[:index]:
            owner = names.index(name)
            raise UserError(f"latent name {name!r}", f"is taken by latent {owner}", "give each latent its own")


def rename_latents(folder: Path, names: Mapping[int, str]) -> list[str]:
    """Change the names of some latents of a saved model, in its ``model.json``, whole or not at all.

    Args:
        folder: The folder of the model.
        names: The new name of a latent, by its index.

    Returns:
        The names of all latents, in order.

    Raises:
        UserError: A name is not usable, or the folder cannot be written.
    """
    header = _read_header(folder)
    header["latents"] = [names.get(index, name) for index, name in enumerate(header["latents"])]
    check_latent_names(header["latents"])
    try:
        write_atomically(folder / HEADER_FILE, _header_bytes(header))
    except OSError as error:
        raise UserError(f"model {folder}", f"cannot be written ({error.strerror})", "check its permissions") from None
    return list(header["latents"])


def saved_latent_names(folder: Path, weights: bytes) -> list[str] | None:
    """Return the names that somebody gave the model in a folder, or None where it is not the model with these weights.

    Args:
        folder: The folder of the model, which may not exist.
        weights: The content of ``model.safetensors``.
    """
    try:
        if (folder / WEIGHTS_FILE).read_bytes() != weights:
            return None
        return list(_read_header(folder)["latents"])
    except (OSError, ValueError, KeyError):
        return None
