"""A trained model as its users see it: images to named, ordered latents and back, saved as two plain files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pbt_disent.errors import UserError, nearest
from pbt_disent.files import write_atomically
from pbt_disent.models.build import build
from pbt_disent.models.contract import Objective, load_options
from pbt_disent.models.encoding import Encoded, encode
from pbt_disent.models.latent_names import check_names, default_names
from pbt_disent.models.tensor_file import pack, unpack
from pbt_disent.types import FloatArray, Json

__all__ = ["FORMAT", "MODEL_PREFIX", "LatentModel", "describe"]

FORMAT = 2
MODEL_PREFIX = "model/"


def describe(objective: Objective) -> Json:
    """Return what is needed, beside the tensors, to build an objective again."""
    return {
        "format": FORMAT,
        "objective": objective.options.name,
        "settings": objective.options.settings,
        "hyperparameters": objective.values,
        "image_shape": list(objective.image_shape),
        "dataset_size": objective.dataset_size,
    }


class LatentModel:
    """A trained model.

    Args:
        objective: The objective with its trained weights.
        latents: A name for each latent; the default is ``f0``, ``f1``, ...
        information: The information of each latent in nats, (Z,), as measured on the images on which the model was
            chosen; the default is unknown (nan).

    Raises:
        UserError: The names are not one for each latent, or not usable ones (`check_names`).
    """

    def __init__(
        self, objective: Objective, latents: Sequence[str] | None = None, information: FloatArray | None = None
    ) -> None:
        self.objective = objective.eval().requires_grad_(False)
        size = int(objective.options.latents)
        self.latents = default_names(size) if latents is None else list(latents)
        self.information = np.full(size, np.nan) if information is None else np.asarray(information, dtype=np.float64)
        if len(self.latents) != size or self.information.shape != (size,):
            raise UserError(f"{len(self.latents)} latent names", f"must be one for each of {size} latents", "give all")
        check_names(self.latents)

    @classmethod
    def from_checkpoint(
        cls, content: bytes, latents: Sequence[str] | None = None, information: FloatArray | None = None
    ) -> LatentModel:
        """Return the model in the bytes of a training checkpoint; they describe themselves.

        Raises:
            UserError: these are no checkpoint bytes, or of a later format.
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
        """(C, H, W) of the images that the model takes."""
        return self.objective.image_shape

    def index(self, latent: str) -> int:
        """Return the index of a latent given by its name, or by its index as text.

        Raises:
            UserError: there is none.
        """
        if latent in self.latents:
            return self.latents.index(latent)
        if latent.isdecimal() and int(latent) < len(self.latents):
            return int(latent)
        raise UserError(f"latent {latent!r}", "is neither a latent nor the index of one", nearest(latent, self.latents))

    def encode(self, images: npt.NDArray[Any], batch: int = 256) -> npt.NDArray[np.float32]:
        """Return the codes (N, Z) of images (N, C, H, W), uint8 or floats in 0 to 1.

        Raises:
            UserError: the images have another shape.
        """
        return self.posterior(images, batch).codes

    def posterior(self, images: npt.NDArray[Any], batch: int = 256) -> Encoded:
        """Return codes, log standard deviations and the information per latent of images (N, C, H, W).

        Raises:
            UserError: the images have another shape.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.image_shape:
            wanted = "x".join(map(str, self.image_shape))
            raise UserError(f"images of shape {images.shape}", f"must be N x {wanted}", "convert them first")
        return encode(self.objective, images, batch=batch)

    def decode(self, codes: FloatArray, batch: int = 256) -> npt.NDArray[np.float32]:
        """Return images (N, C, H, W) in 0 to 1 of codes (N, Z)."""
        device = next(self.objective.parameters()).device
        tensor = torch.from_numpy(np.ascontiguousarray(codes, dtype=np.float32)).to(device)
        with torch.no_grad():
            parts = [self.objective.decode(part).cpu().numpy() for part in torch.split(tensor, batch)]
        return np.concatenate(parts)

    def traverse(self, code: FloatArray, latent: int, values: FloatArray) -> npt.NDArray[np.float32]:
        """Return the images (V, C, H, W) decoded from one code (Z,) with one latent set to each of V values."""
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
        header = describe(self.objective)
        known = [None if np.isnan(value) else float(value) for value in self.information]
        header |= {"latents": self.latents, "information": known}
        write_atomically(folder / "model.safetensors", self.weights)
        write_atomically(folder / "model.json", (json.dumps(header, indent=2, sort_keys=True) + "\n").encode())

    @classmethod
    def load(cls, folder: Path | str) -> LatentModel:
        """Read a model written by `save`.

        Raises:
            UserError: the folder holds no model, or one of a later format.
        """
        folder = Path(folder)
        try:
            header = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            content = (folder / "model.safetensors").read_bytes()
        except (OSError, ValueError) as error:
            raise UserError(
                f"model {folder}", f"must hold a saved model ({type(error).__name__})", "check the path"
            ) from None
        name = f"model {folder}"
        objective = _rebuild(header, unpack(content, name)[0], name)
        with _whole(name):
            information = [np.nan if value is None else float(value) for value in header["information"]]
            return cls(objective, header["latents"], np.asarray(information))


@contextmanager
def _whole(name: str) -> Iterator[None]:
    """Say in one line that a description does not fit itself or its weights, as after an edit or a mixed copy."""
    try:
        yield
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(name, f"is damaged ({reason})", "copy it again, or export it anew") from error


def _rebuild(header: Json, weights: dict[str, torch.Tensor], name: str) -> Objective:
    with _whole(name):
        if (version := header.get("format")) != FORMAT:
            remedy = "use a newer version" if isinstance(version, int) and version > FORMAT else "train it again"
            raise UserError(f"{name} of format {version}", f"must have format {FORMAT}", remedy)
        channels, height, width = header["image_shape"]
        options = load_options(header["objective"], header["settings"])
        shape, values = (channels, height, width), header["hyperparameters"]
        objective = build(options, values, shape, header["dataset_size"])
        objective.load_state_dict(weights)
    return objective
