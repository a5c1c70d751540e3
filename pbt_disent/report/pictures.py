"""Pictures that a model makes: what each latent does, and how well it draws what it saw."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pbt_disent.types import FloatArray

__all__ = ["GAP", "data_uri", "gif", "png", "strip"]

GAP = 1
FRAME_MILLISECONDS = 100


def strip(images: FloatArray, rows: int = 1) -> npt.NDArray[np.uint8]:
    """Set images side by side, with a gap of one pixel in middle grey.

    Args:
        images: (V, C, H, W) in 0 to 1, C 1 or 3; the first V / rows of them make the first row.
        rows: how many rows.

    Returns:
        (rows * H + gaps, V / rows * W + gaps, C) in 0 to 255.
    """
    count, channels, height, width = images.shape
    columns = count // rows
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 128, dtype=np.uint8)
    levels = np.clip(np.rint(np.asarray(images, dtype=np.float64) * 255), 0, 255).astype(np.uint8)
    for index in range(rows * columns):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = levels[index].transpose(1, 2, 0)
    return sheet


def png(sheet: npt.NDArray[Any], scale: int = 1) -> bytes:
    """Return (H, W, C) pixels as a PNG file, each enlarged to `scale` by `scale`."""
    buffer = io.BytesIO()
    Image.fromarray(_grown(sheet, scale)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def gif(images: FloatArray, scale: int = 1) -> bytes:
    """Return images (V, C, H, W) in 0 to 1 as an endless animation, forth and back, each pixel `scale` by `scale`."""
    frames = [Image.fromarray(_grown(strip(image[None]), scale)) for image in images]
    buffer = io.BytesIO()
    first, *others = frames + frames[-2:0:-1]
    first.save(buffer, format="GIF", save_all=True, append_images=others, duration=FRAME_MILLISECONDS, loop=0)
    return buffer.getvalue()


def data_uri(content: bytes, kind: str = "png") -> str:
    """Return a picture file as a URI that holds it.

    Args:
        content: of the file.
        kind: ``png`` or ``gif``.
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _grown(sheet: npt.NDArray[Any], scale: int) -> npt.NDArray[Any]:
    """Return (H, W, C) pixels enlarged, without the last axis where there is one channel."""
    grown = sheet.repeat(scale, axis=0).repeat(scale, axis=1)
    return grown[:, :, 0] if grown.shape[2] == 1 else grown
