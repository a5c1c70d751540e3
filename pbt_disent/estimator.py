"""The estimator in scikit-learn's manner: images in, named codes out, and back.

It goes through the same run folder as ``pbt-disent run``. Where that is kept, it has a report, the lineage and the
labels, and every verb of the command line works on it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from pbt_disent.api import execute, prepare
from pbt_disent.automatic import automatic_config
from pbt_disent.config import Config, load_config, override
from pbt_disent.data.array_images import layout_of
from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.population.clock import Clock
from pbt_disent.population.events import Observer, Observers
from pbt_disent.report.page import write_report
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.store.runs import create_run
from pbt_disent.types import UInt8Array
from pbt_disent.units import shape_text

__all__ = ["RPUVAE"]

_IMAGES, _LABELS = "images", "y"


class RPUVAE(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Learn a representation of images by population-based training of VAEs, without labels unless the config asks.

    Args:
        config: The name of a preset, or the path of a YAML file. With ``auto`` the images and the machine decide.
        settings: Single values of the config, such as ``{"population.size": 8}``.
        latents: The number of latents. The default is the config's.
        image_shape: The shape, (C, H, W) or (H, W), of the images that the rows of a two-dimensional X hold. By default
            a row is a line of pixels, which only fully connected networks accept (``{"objective.network": "mlp"}``).
        random_state: The seed of everything. The default is the config's.
        runs: The folder in which the run is kept, with its report. By default nothing is kept but the model.
        n_jobs: The number of CPUs that train at the same time, through Ray; -1 for all. By default everything runs in
            this process.

    Attributes:
        model_: The trained `LatentModel`.
        config_: The resolved `Config`.
        information_: The information of each latent in nats, an array of shape (Z,).
        scores_: The content of ``scores.json``.
        run_folder_: The path of the run, or None where it was not kept.
        n_features_in_: The size of the second axis of X.

    Example:
        >>> from pbt_disent.data import load
        >>> images = load("sprites", size=32, grid={"shape": 3, "scale": 2, "orientation": 1, "x": 4, "y": 4}).images(
        ...     np.arange(96)
        ... )
        >>> settings = {"method": "fixed", "population.size": 2, "population.max_generations": 1}
        >>> settings["population.image_passes_per_generation"] = 96  # far too few, but soon over
        >>> model = RPUVAE("demo", settings=settings, latents=3, random_state=0).fit(images)
        >>> codes = model.transform(images)
        >>> codes.shape, model.get_feature_names_out().tolist()
        ((96, 3), ['f0', 'f1', 'f2'])
        >>> model.inverse_transform(codes).shape
        (96, 1, 32, 32)
    """

    def __init__(
        self,
        config: str | Path = "auto",
        *,
        settings: Mapping[str, Any] | None = None,
        latents: int | None = None,
        image_shape: tuple[int, ...] | None = None,
        random_state: int | np.random.RandomState | None = None,
        runs: str | Path | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.config = config
        self.settings = settings
        self.latents = latents
        self.image_shape = image_shape
        self.random_state = random_state
        self.runs = runs
        self.n_jobs = n_jobs

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike | None = None) -> Self:  # noqa: N803
        """Train on images.

        Args:
            X: The images, an array of shape (N, C, H, W), (N, H, W, C) or (N, H, W), or rows of pixels, of shape
                (N, F). Their values may have any range.
            y: The labels, an array of shape (N,) or (N, K), for configs that learn from labels or rank by them. All
                other configs ignore them.

        Raises:
            ValueError: X holds no images, or they are not finite.
            UserError: The config is wrong, or does not fit the images.
            PbtDisentError: Nothing was learned.
        """
        values = self._validated(X, reset=True)
        self._learn_range(values)
        images = self._to_images(values)
        with ExitStack() as stack:
            is_kept = self.runs is not None
            root = Path(str(self.runs)) if is_kept else Path(stack.enter_context(tempfile.TemporaryDirectory()))
            config = self._config_for(_write(root, images, y))
            folder = create_run(config, Path(self.config).stem, root, None)
            outcome = self._run(folder)
            if outcome.model is None:
                raise PbtDisentError(
                    "no model was learned: no member ever had a score; give more images or generations"
                )
            if is_kept:
                write_report(folder.path)
        self.model_, self.config_, self.scores_ = outcome.model, config, outcome.scores
        self.information_ = outcome.model.information
        self.run_folder_ = str(folder.path) if is_kept else None
        return self

    def transform(self, X: npt.ArrayLike) -> npt.NDArray[np.float32]:  # noqa: N803
        """Return the codes (N, Z) of images of the shape that it was fitted on."""
        check_is_fitted(self)
        codes: npt.NDArray[np.float32] = self.model_.encode(self._to_images(self._validated(X, reset=False)))
        return codes

    def inverse_transform(self, X: npt.ArrayLike) -> npt.NDArray[np.float32]:  # noqa: N803
        """Return the images that codes (N, Z) decode to, in the shape and range of those that it was fitted on."""
        check_is_fitted(self)
        codes = np.asarray(X, dtype=np.float32)
        if codes.ndim != 2 or codes.shape[1] != len(self.model_.latents):
            raise UserError(
                f"codes of shape {codes.shape}", f"must be N x {len(self.model_.latents)}", "give transform's"
            )
        images = self.model_.decode(codes)
        if self._layout == "rows":
            images = images.reshape(len(images), -1)
        elif self._layout == "hw":
            images = images[:, 0]
        elif self._layout == "hwc":
            images = images.transpose(0, 2, 3, 1)
        low, high = self._range
        return np.ascontiguousarray(low + images * np.float32(high - low), dtype=np.float32)

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[np.object_]:
        """Return the names of the latents."""
        check_is_fitted(self)
        return np.asarray(self.model_.latents, dtype=object)

    def __sklearn_tags__(self) -> Tags:
        """Say that codes are float32 whatever the images are, and that images may have more than two dimensions."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.input_tags.three_d_array = True
        return tags

    def _validated(self, values: npt.ArrayLike, *, reset: bool) -> npt.NDArray[Any]:
        """Return checked images (N, ...), and remember their shape when `reset`."""
        array: npt.NDArray[Any] = validate_data(
            self, values, reset=reset, allow_nd=True, dtype="numeric", ensure_min_samples=2 if reset else 1
        )
        if reset:
            self._input_shape = array.shape[1:]
            self._layout, self._shape = self._image_layout(array.shape)
        elif array.shape[1:] != self._input_shape:
            shape, fitted_shape = (shape_text(shape) for shape in (array.shape[1:], self._input_shape))
            raise UserError(f"images of {shape}", f"must be {fitted_shape}, as those it was fitted on", "convert them")
        return array

    def _image_layout(self, shape: tuple[int, ...]) -> tuple[str, tuple[int, int, int]]:
        if len(shape) > 2:
            return layout_of("X", shape)
        image_shape = (1, 1, shape[1]) if self.image_shape is None else tuple(self.image_shape)
        image_shape = (1, *image_shape) if len(image_shape) == 2 else image_shape
        if len(image_shape) != 3 or int(np.prod(image_shape)) != shape[1]:
            raise UserError(f"image_shape={self.image_shape}", f"must have {shape[1]} numbers in all", "change it")
        return "rows", (image_shape[0], image_shape[1], image_shape[2])

    def _learn_range(self, values: npt.NDArray[Any]) -> None:
        """Remember the range of pixels: 0 to 1 or 0 to 255 where the values lie within, else their own range."""
        low, high = float(values.min()), float(values.max())
        largest = next((limit for limit in (1.0, 255.0) if low >= 0 and high <= limit), None)
        if largest is not None:
            self._range = (0.0, largest)
        else:
            self._range = (low, high if high > low else low + 1.0)

    def _to_images(self, values: npt.NDArray[Any]) -> UInt8Array:
        """Return images (N, C, H, W) as bytes."""
        low, high = self._range
        scaled = (values.astype(np.float64) - low) * (255 / (high - low))
        images = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        if self._layout == "hwc":
            images = images.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(images.reshape(len(images), *self._shape))

    def _config_for(self, data: dict[str, Any]) -> Config:
        overrides = [override(key, _plain(value)) for key, value in (self.settings or {}).items()]
        if self.latents is not None:
            overrides.append(f"objective.latents={self.latents}")
        if self.random_state is not None:
            state = self.random_state
            seed = state if isinstance(state, int | np.integer) else check_random_state(state).randint(2**31)
            overrides.append(f"seed={int(seed)}")
        overrides.append(f"resources.executor={'in-process' if self.n_jobs is None else 'ray'}")
        if self.n_jobs is not None and self.n_jobs > 0:
            overrides.append(f"resources.cpus={self.n_jobs}")
        options = override("data.options", data["options"])
        if str(self.config) == "auto":
            return automatic_config(data["name"], [options, *overrides])
        return load_config(self.config, [options, override("data.name", data["name"]), *overrides])

    def _run(self, folder: RunFolder) -> Any:
        with Clock(folder.path) as clock:
            observers: list[Observer] = [clock]
            return execute(prepare(folder), Observers(observers))


def _write(root: Path, images: UInt8Array, y: npt.ArrayLike | None) -> dict[str, Any]:
    """Put the images, and labels if there are any, into a file under the folder of runs; return the data section."""
    arrays: dict[str, npt.NDArray[Any]] = {_IMAGES: images}
    options = {"key": _IMAGES, "layout": "chw"}
    if y is not None:
        arrays[_LABELS] = _classes(y)
        options["factor_key"] = _LABELS
    digest = hashlib.sha256()
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array).tobytes())
    path = root / ".arrays" / f"{digest.hexdigest()[:16]}.npz"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            np.savez(path, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise UserError(f"runs={root}", f"cannot be written ({error.strerror})", "give another folder") from None
    return {"name": str(path.resolve()), "options": options}


def _classes(y: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return labels (N,) or (N, K) as numbers; words are numbered in alphabetical order."""
    labels = np.asarray(y)
    type_of_target(labels, input_name="y", raise_unknown=True)
    if labels.dtype.kind in "biuf":
        return labels
    columns = labels.astype(str).reshape(len(labels), -1).T
    return np.stack([np.unique(column, return_inverse=True)[1] for column in columns], axis=1)


def _plain(value: object) -> object:
    """Return a number of numpy's as one of Python's, and anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value
