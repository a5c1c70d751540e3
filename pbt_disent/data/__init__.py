"""Any set of images, by name or by path: rendered worlds, the field's published sets, and a user's own files.

``load("sprites", size=32).images([0, 1])`` gives (2, 1, 32, 32) uint8, ``load("3dshapes.h5").factors([7])`` the class
ids (1, 6) of one image.
"""

from __future__ import annotations

from pbt_disent.data.base import UNKNOWN, ImageData, Subset
from pbt_disent.data.labels import with_labels
from pbt_disent.data.loading import first_picture, load, reader_of
from pbt_disent.data.readers import READERS
from pbt_disent.data.selection import correlate, select, split
from pbt_disent.data.storage import StoredImages, materialise
from pbt_disent.data.worlds import WORLDS

__all__ = [
    "READERS",
    "UNKNOWN",
    "WORLDS",
    "ImageData",
    "StoredImages",
    "Subset",
    "correlate",
    "first_picture",
    "load",
    "materialise",
    "reader_of",
    "select",
    "split",
    "with_labels",
]
