"""Every decoder that a page may run: its steps, done here in numpy, draw what the model draws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pbt_disent.models import OBJECTIVES, LatentModel, Objective, decoder_program
from pbt_disent.models.decoder_program import DecoderProgram
from pbt_disent.models.decoder_program import decoder_program as compiled
from pbt_disent.types import Json

Make = Callable[..., Objective]


def run(program: DecoderProgram, code: np.ndarray) -> np.ndarray:
    """Do what the page's script does."""
    weights = np.frombuffer(program.weights, "<f2" if program.half else "<f4").astype(np.float64)
    values = [code.astype(np.float64)]
    for step in program.steps:
        values.append(do(step, [values[place] for place in step["of"]], weights))
    return values[-1]


def do(step: Json, given: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    x = given[0]

    def taken(place: int | None, size: int) -> np.ndarray:
        return np.zeros(size) if place is None else weights[place : place + size]

    match step["do"]:
        case "same":
            return x
        case "classes":
            chosen = [np.clip(np.round(code), 0, size - 1) for code, size in zip(x, step["sizes"], strict=False)]
            units = [np.arange(size) == one for one, size in zip(chosen, step["sizes"], strict=True)]
            return np.concatenate([*units, x[len(chosen) :]]).astype(np.float64)
        case "slice":
            return x[step["start"] : step["stop"]]
        case "relu":
            return np.maximum(x, 0)
        case "leaky":
            return np.where(x > 0, x, step["slope"] * x)
        case "elu":
            return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
        case "sigmoid":
            return 1 / (1 + np.exp(-x))
        case "scale":
            return x * step["by"]
        case "join":
            return np.concatenate(given)
        case "affine":
            channels = len(x) // step["each"]
            factor, term = (np.repeat(taken(step[name], channels), step["each"]) for name in ("factor", "term"))
            return x * factor + term
        case "linear":
            rows, columns = step["rows"], step["columns"]
            return taken(step["weight"], rows * columns).reshape(rows, columns) @ x + taken(step["bias"], rows)
        case "transposed":
            return transposed(step, x, taken)
    raise AssertionError(step["do"])


def transposed(step: Json, x: np.ndarray, taken: Callable[[int | None, int], np.ndarray]) -> np.ndarray:
    channels, out, kernel = step["channels"], step["out"], step["kernel"]
    height, width, stride, padding = step["height"], step["width"], step["stride"], step["padding"]
    weight = taken(step["weight"], channels * out * kernel**2).reshape(channels, out, kernel, kernel)
    maps = x.reshape(channels, height, width)
    tall, wide = (height - 1) * stride + kernel, (width - 1) * stride + kernel
    y = np.zeros((out, tall, wide)) + taken(step["bias"], out)[:, None, None]
    for row in range(height):
        for column in range(width):
            part = np.tensordot(maps[:, row, column], weight, 1)
            y[:, row * stride : row * stride + kernel, column * stride : column * stride + kernel] += part
    return y[:, padding : tall - padding, padding : wide - padding].ravel()


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_its_steps_draw_what_the_model_draws(make: Make, name: str) -> None:
    objective = make(name)
    generator = torch.Generator().manual_seed(1)
    for layer in objective.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # as training leaves it
            with torch.no_grad():
                for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    assert tensor is not None
                    tensor.uniform_(0.5, 2, generator=generator)
    model = LatentModel(objective)
    program = compiled(model)
    assert program is not None
    for code in np.random.default_rng(0).normal(scale=2, size=(3, len(model.latents))):
        expected = model.decode(code[None])[0].ravel()
        np.testing.assert_allclose(run(program, code), expected, atol=1 / 255)


def test_a_decoder_with_other_steps_has_no_program(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = make()
    decode = type(objective).decode
    monkeypatch.setattr(type(objective), "decode", lambda self, codes: decode(self, codes.sin()))
    assert compiled(LatentModel(objective)) is None


def test_weights_keep_32_bits_where_16_would_show(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LatentModel(make())
    half = compiled(model)
    monkeypatch.setattr(decoder_program, "_HALF_LEVEL", 0.0)
    full = compiled(model)
    assert half is not None
    assert full is not None
    assert (half.half, full.half) == (True, False)
    assert len(full.weights) == 2 * len(half.weights)


@pytest.mark.parametrize("limit", ["MAX_BYTES", "MAX_MULTIPLICATIONS"])
def test_what_is_too_large_or_too_slow_for_a_page_has_none(
    make: Make, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(decoder_program, limit, 1000)
    assert compiled(LatentModel(make())) is None
