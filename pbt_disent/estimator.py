"""The whole of it as an estimator in scikit-learn's manner: images in, named codes out, and back.

    model = RPUVAE("auto", latents=8, random_state=0).fit(images)
    model.transform(images)                      # (N, Z) codes
    model.get_feature_names_out()                # their names
    model.inverse_transform(codes)               # images

It goes through the same run folder as ``pbt-disent run`` does, so that with `runs` given the report, the lineage and
the labels are there afterwards, and every verb works on it.
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

__all__ = ["RPUVAE"]

_IMAGES, _LABELS = "images", "y"


class RPUVAE(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Learn a representation of images by population-based training of VAEs, without labels unless the config asks.

    Args:
        config: a preset by name, a YAML file by path; ``auto`` goes by the images and the machine.
        settings: single values of the config, such as ``{"population.size": 8}``.
        latents: how many; by default as many as the config says.
        image_shape: (C, H, W) or (H, W) of the images that the rows of a two-dimensional X are; by default a row is one
            line of pixels, which fully connected networks (``{"objective.network": "mlp"}``) alone can take.
        random_state: seed of everything; by default that of the config.
        runs: folder to keep the run in, with its report; by default nothing is kept but the model.
        n_jobs: CPUs that train at the same time, through Ray; -1 for all. By default all happens in this process.

    Attributes:
        model_: the trained `LatentModel`.
        config_: the resolved `Config`.
        information_: (Z,) nats per latent.
        scores_: what ``scores.json`` says.
        run_folder_: path of the run; none where it was not kept.
        n_features_in_: size of X's second axis.
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
            X: (N, C, H, W), (N, H, W, C) or (N, H, W) images, or (N, F) rows of pixels, of any range of values.
            y: (N,) or (N, K) labels, for configs that learn from labels or rank by them; ignored by all others.

        Raises:
            ValueError: X holds no images, or they are not finite.
            UserError: the config is wrong, or does not fit the images.
            PbtDisentError: nothing was learned.
        """
        values = self._checked(X, reset=True)
        self._learn_range(values)
        images = self._to_images(values)
        with ExitStack() as stack:
            kept = self.runs is not None
            root = Path(str(self.runs)) if kept else Path(stack.enter_context(tempfile.TemporaryDirectory()))
            config = self._config_for(_write(root, images, y))
            folder = create_run(config, Path(self.config).stem, root, None)
            outcome = self._run(folder)
            if outcome.model is None:
                raise PbtDisentError(
                    "no model was learned: no member ever had a score; give more images or generations"
                )
            if kept:
                write_report(folder.path)
        self.model_, self.config_, self.scores_ = outcome.model, config, outcome.scores
        self.information_ = outcome.model.information
        self.run_folder_ = str(folder.path) if kept else None
        return self

    def transform(self, X: npt.ArrayLike) -> npt.NDArray[np.float32]:  # noqa: N803
        """Return the codes (N, Z) of images of the kind that it was fitted on."""
        check_is_fitted(self)
        codes: npt.NDArray[np.float32] = self.model_.encode(self._to_images(self._checked(X, reset=False)))
        return codes

    def inverse_transform(self, X: npt.ArrayLike) -> npt.NDArray[np.float32]:  # noqa: N803
        """Return the images that the model makes of codes (N, Z), in the shape and range of those it was fitted on."""
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

    def _checked(self, given: npt.ArrayLike, *, reset: bool) -> npt.NDArray[Any]:
        """Return checked images (N, ...), and remember their shape when `reset`."""
        array: npt.NDArray[Any] = validate_data(
            self, given, reset=reset, allow_nd=True, dtype="numeric", ensure_min_samples=2 if reset else 1
        )
        if reset:
            self._given_shape = array.shape[1:]
            self._layout, self._shape = self._understand(array.shape)
        elif array.shape[1:] != self._given_shape:
            given_shape, known = ("x".join(map(str, shape)) for shape in (array.shape[1:], self._given_shape))
            raise UserError(f"images of {given_shape}", f"must be {known}, as those it was fitted on", "convert them")
        return array

    def _understand(self, shape: tuple[int, ...]) -> tuple[str, tuple[int, int, int]]:
        if len(shape) > 2:
            return layout_of("X", shape)
        wanted = (1, 1, shape[1]) if self.image_shape is None else tuple(self.image_shape)
        wanted = (1, *wanted) if len(wanted) == 2 else wanted
        if len(wanted) != 3 or int(np.prod(wanted)) != shape[1]:
            raise UserError(f"image_shape={self.image_shape}", f"must have {shape[1]} numbers in all", "change it")
        return "rows", (wanted[0], wanted[1], wanted[2])

    def _learn_range(self, values: npt.NDArray[Any]) -> None:
        """What is within 0 to 1, or within 0 to 255, is taken as that; else its own range becomes that of pixels."""
        low, high = float(values.min()), float(values.max())
        usual = next((top for top in (1.0, 255.0) if low >= 0 and high <= top), None)
        if usual is not None:
            self._range = (0.0, usual)
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
            seed = self.random_state
            number = seed if isinstance(seed, int | np.integer) else check_random_state(seed).randint(2**31)
            overrides.append(f"seed={int(number)}")
        overrides.append(f"resources.executor={'in-process' if self.n_jobs is None else 'ray'}")
        if self.n_jobs is not None and self.n_jobs > 0:
            overrides.append(f"resources.cpus={self.n_jobs}")
        options = override("data.options", data["options"])
        if str(self.config) == "auto":
            return automatic_config(data["name"], [options, *overrides])
        return load_config(self.config, [options, override("data.name", data["name"]), *overrides])

    def _run(self, folder: RunFolder) -> Any:
        with Clock(folder.path) as clock:
            watchers: list[Observer] = [clock]
            return execute(prepare(folder), Observers(watchers))


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
    """Return labels (N,) or (N, K) as numbers: those given, or the places of words in their order."""
    labels = np.asarray(y)
    type_of_target(labels, input_name="y", raise_unknown=True)
    if labels.dtype.kind in "biuf":
        return labels
    columns = labels.astype(str).reshape(len(labels), -1).T
    return np.stack([np.unique(column, return_inverse=True)[1] for column in columns], axis=1)


def _plain(value: object) -> object:
    """Return a number of numpy's as one of Python's, and anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value
