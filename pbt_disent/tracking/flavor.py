"""A trained model in MLflow's format: images in, named codes out; nothing in it is pickled, nothing executes on load.

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

__all__ = ["TASKS", "ServedModel", "requirements", "save_flavor", "signature"]

TASKS = ("encode", "decode", "traverse")
"""What a served model can be asked to do; the first one is the default."""
DEFAULT_VALUES = tuple(float(value) for value in np.linspace(-2, 2, 11))
"""The values of a traversal by default, in standard deviations of the prior."""
_REQUIRED = ("pbt-disent", "mlflow", "numpy", "pandas", "safetensors", "torch")


def save_flavor(model: LatentModel, folder: Path, mlflow_model: Model | None = None) -> None:
    """Save a model as an MLflow model.

    Args:
        model: The trained model.
        folder: The folder to write, which does not exist yet.
        mlflow_model: MLflow's description of the model, where MLflow knows of it already; it is completed.
    """
    with TemporaryDirectory() as temporary:
        model.save(Path(temporary) / "model")
        save_model(
            folder,
            loader_module=__name__,
            data_path=str(Path(temporary) / "model"),
            mlflow_model=mlflow_model,
            signature=signature(model),
            input_example=_to_uint8(model.decode(np.zeros((1, len(model.latents))))),
            pip_requirements=requirements(),
        )


def signature(model: LatentModel) -> ModelSignature:
    """Return the signature of a model: images in, a table of named codes out, and the parameters of `predict`."""
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *model.image_shape))]),
        outputs=Schema([ColSpec("float", name) for name in model.latents]),
        params=ParamSchema(
            [
                ParamSpec("task", "string", TASKS[0]),
                ParamSpec("codes", "double", [], (-1,)),
                ParamSpec("latent", "string", ""),
                ParamSpec("values", "double", list(DEFAULT_VALUES), (-1,)),
            ]
        ),
    )


def requirements() -> list[str]:
    """Return pinned requirements for the packages that decide what a model returns, without local version labels."""
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in _REQUIRED]


class ServedModel:
    """A trained model behind MLflow's interface; `mlflow.pyfunc.load_model` wraps it.

    Args:
        model: The trained model.
    """

    def __init__(self, model: LatentModel) -> None:
        self.model = model

    def predict(self, images: UInt8Array, params: dict[str, Any] | None = None) -> pd.DataFrame | UInt8Array:
        """Encode, decode or traverse, as ``params["task"]`` says.

        Args:
            images: The images, uint8 of shape (N, C, H, W).
            params: The parameters of the signature, complete.

        Returns:
            The codes as a table (N, Z), or images as uint8 of shape (N, C, H, W) or (N, V, C, H, W).

        Raises:
            MlflowException: The task or latent is unknown, there are no images, or the codes are not N x Z numbers.
                The message is one line, which a server sends with status 400.
        """
        defaults = {"task": TASKS[0], "codes": [], "latent": "", "values": list(DEFAULT_VALUES)}
        options = defaults | (params or {})
        try:
            match options["task"]:
                case "encode":
                    return pd.DataFrame(self.model.encode(images), columns=self.model.latents)
                case "decode":
                    return _to_uint8(self.model.decode(self._codes(images, options["codes"])))
                case "traverse":
                    latent, values = self.model.index(options["latent"]), np.asarray(options["values"])
                    codes = self.model.encode(images)
                    return np.stack([_to_uint8(self.model.traverse(code, latent, values)) for code in codes])
            raise UserError(f"task {options['task']!r}", "is no task", nearest(str(options["task"]), TASKS))
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None

    def _codes(self, images: UInt8Array, codes: list[float]) -> FloatArray:
        num_latents = len(self.model.latents)
        if not codes:
            return self.model.encode(images)
        if len(codes) % num_latents:
            rule = f"must be a multiple of {num_latents}, one for each latent"
            raise UserError(f"{len(codes)} codes", rule, "give all")
        return np.asarray(codes, dtype=np.float32).reshape(-1, num_latents)


def _load_pyfunc(data_path: str) -> ServedModel:
    """Return the model in a folder; MLflow finds this function by its name."""
    return ServedModel(LatentModel.load(data_path))


def _to_uint8(images: FloatArray) -> npt.NDArray[np.uint8]:
    """Return images with values from 0 to 1 as uint8."""
    return np.clip(np.rint(images * 255), 0, 255).astype(np.uint8)
