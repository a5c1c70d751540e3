"""Pictures that a model decodes, set side by side or one after the other, as PNG, GIF and data URIs."""

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

    >>> strip(np.ones((3, 1, 2, 2))).shape
    (2, 8, 1)

    Args:
        images: The images in 0 to 1, an array (V, C, H, W) with C 1 or 3; the first V / rows of them make the first
            row.
        rows: The number of rows.

    Returns:
        The pixels in 0 to 255, an array (rows * H + gaps, V / rows * W + gaps, C).
    """
    count, channels, height, width = images.shape
    columns = count // rows
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 128, dtype=np.uint8)
    levels = np.clip(np.rint(np.asarray(images, dtype=np.float64) * 255), 0, 255).astype(np.uint8)
    for index in range(rows * columns):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = levels[index].transpose(1, 2, 0)
    return sheet


def png(pixels: npt.NDArray[Any], zoom: int = 1) -> bytes:
    """Return pixels as a PNG file.

    Args:
        pixels: The pixels, an array (H, W, C).
        zoom: The side in which each pixel is drawn.
    """
    buffer = io.BytesIO()
    Image.fromarray(_enlarge(pixels, zoom)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def gif(images: FloatArray, zoom: int = 1) -> bytes:
    """Return images as an endless animation that runs forth and back.

    Args:
        images: The images in 0 to 1, an array (V, C, H, W).
        zoom: The side in which each pixel is drawn.
    """
    frames = [Image.fromarray(_enlarge(strip(image[None]), zoom)) for image in images]
    buffer = io.BytesIO()
    first, *rest = frames + frames[-2:0:-1]
    first.save(buffer, format="GIF", save_all=True, append_images=rest, duration=FRAME_MILLISECONDS, loop=0)
    return buffer.getvalue()


def data_uri(content: bytes, file_format: str = "png") -> str:
    """Return a picture file as a URI that holds it.

    >>> data_uri(b"GIF89a", "gif")
    'data:image/gif;base64,R0lGODlh'

    Args:
        content: The bytes of the file.
        file_format: The format of the file, ``png`` or ``gif``.
    """
    return f"data:image/{file_format};base64,{base64.b64encode(content).decode()}"


def _enlarge(pixels: npt.NDArray[Any], zoom: int) -> npt.NDArray[Any]:
    """Return pixels (H, W, C) enlarged, without the last axis where there is one channel."""
    enlarged = pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)
    return enlarged[:, :, 0] if enlarged.shape[2] == 1 else enlarged
