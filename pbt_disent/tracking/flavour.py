"""A trained model as an MLflow model: images in, named codes out; nothing in it is pickled, nothing executes on load.

    MLmodel  requirements.txt  input_example.json ...
    data/model/model.safetensors  data/model/model.json

``mlflow.pyfunc.load_model(path).predict(images, params={"task": ...})`` does one of three things:

    encode    (default) the codes of N images: a table (N, Z), its columns named as the latents
    decode    the images of `codes`, N x Z numbers row by row; without `codes`, of the codes of the images given
    traverse  each of N images with one `latent` set to each of V `values`: (N, V, C, H, W)

Images are uint8 (N, C, H, W) both ways.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

from pbt_disent.errors import UserError, nearest
from pbt_disent.models import LatentModel
from pbt_disent.types import FloatArray, UInt8Array

with warnings.catch_warnings():  # MLflow finds fault with type hints of its own
    warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType")
    from mlflow.pyfunc import save_model

__all__ = ["TASKS", "ServedModel", "requirements", "signature", "write_flavour"]

TASKS = ("encode", "decode", "traverse")
VALUES = tuple(float(value) for value in np.linspace(-2, 2, 11))
"""Where a traversal goes unless told otherwise, in standard deviations of the prior."""
_NEEDED = ("pbt-disent", "mlflow", "numpy", "pandas", "safetensors", "torch")


def write_flavour(model: LatentModel, folder: Path, described: Model | None = None) -> None:
    """Write a model as an MLflow model.

    Args:
        model: a trained model.
        folder: does not exist yet.
        described: MLflow's description of it, where MLflow knows of it already; it is completed.
    """
    with TemporaryDirectory() as temporary:
        model.save(Path(temporary) / "model")
        save_model(
            folder,
            loader_module=__name__,
            data_path=str(Path(temporary) / "model"),
            mlflow_model=described,
            signature=signature(model),
            input_example=_levels(model.decode(np.zeros((1, len(model.latents))))),
            pip_requirements=requirements(),
        )


def signature(model: LatentModel) -> ModelSignature:
    """Return what the model takes and gives."""
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *model.image_shape))]),
        outputs=Schema([ColSpec("float", name) for name in model.latents]),
        params=ParamSchema(
            [
                ParamSpec("task", "string", TASKS[0]),
                ParamSpec("codes", "double", [], (-1,)),
                ParamSpec("latent", "string", ""),
                ParamSpec("values", "double", list(VALUES), (-1,)),
            ]
        ),
    )


def requirements() -> list[str]:
    """Return the versions installed here of all that decides what the model gives, less what names a build of them."""
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in _NEEDED]


class ServedModel:
    """What `mlflow.pyfunc.load_model` wraps.

    Args:
        model: a trained model.
    """

    def __init__(self, model: LatentModel) -> None:
        self.model = model

    def predict(self, images: UInt8Array, params: dict[str, Any] | None = None) -> pd.DataFrame | UInt8Array:
        """Encode, decode or traverse, as ``params["task"]`` says.

        Args:
            images: (N, C, H, W).
            params: of the signature, complete.

        Raises:
            MlflowException: an unknown task or latent, no images, or codes that are not N x Z numbers; one line, which
                a server answers with status 400.
        """
        given = {"task": TASKS[0], "codes": [], "latent": "", "values": list(VALUES)} | (params or {})
        try:
            match given["task"]:
                case "encode":
                    return pd.DataFrame(self.model.encode(images), columns=self.model.latents)
                case "decode":
                    return _levels(self.model.decode(self._codes(images, given["codes"])))
                case "traverse":
                    latent, values = self.model.index(given["latent"]), np.asarray(given["values"])
                    codes = self.model.encode(images)
                    return np.stack([_levels(self.model.traverse(code, latent, values)) for code in codes])
            raise UserError(f"task {given['task']!r}", "is no task", nearest(str(given["task"]), TASKS))
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None

    def _codes(self, images: UInt8Array, codes: list[float]) -> FloatArray:
        size = len(self.model.latents)
        if not codes:
            return self.model.encode(images)
        if len(codes) % size:
            raise UserError(f"{len(codes)} codes", f"must be a multiple of {size}, one for each latent", "give all")
        return np.asarray(codes, dtype=np.float32).reshape(-1, size)


def _load_pyfunc(data_path: str) -> ServedModel:
    """Return the model in a folder; MLflow finds this function by its name."""
    return ServedModel(LatentModel.load(data_path))


def _levels(images: FloatArray) -> npt.NDArray[np.uint8]:
    """Return images in 0 to 1 as uint8."""
    return np.clip(np.rint(images * 255), 0, 255).astype(np.uint8)
