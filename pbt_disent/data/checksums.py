"""The published sets' files by name: length in bytes, digest, and who publishes the digest.

TensorFlow Datasets publishes SHA-256 and lengths (tensorflow_datasets/url_checksums). For files that it does not
fetch there are MD5 sums: of dSprites' npz in Latte (latte/dataset/dsprites.py), of MPI3D's in disent
(disent/dataset/data/_groundtruth__mpi3d.py). They tell a damaged download, not a forged one. Of Cars3D only the
archive around its files has a digest, of MPI3D's real complex set nothing has.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["PUBLISHED", "Published"]

TFDS, LATTE, DISENT = "TensorFlow Datasets", "Latte", "disent"


@dataclass(frozen=True)
class Published:
    """What a file is known to be.

    Attributes:
        source: who says so.
        digest: in hexadecimal.
        algorithm: of the digest.
        length: in bytes, None where it is not published.
        mirrored: other files go by this name as well, so that a difference is no proof of damage.
    """

    source: str
    digest: str
    algorithm: Literal["sha256", "md5"] = "sha256"
    length: int | None = None
    mirrored: bool = False

    def matches(self, path: Path) -> bool:
        """Read the whole file and tell whether it has this digest."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, self.algorithm).hexdigest() == self.digest

    def __str__(self) -> str:
        return f"{'SHA-256' if self.algorithm == 'sha256' else 'MD5'} of {self.source}"


PUBLISHED: dict[str, Published] = {
    "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.hdf5": Published(
        TFDS, "729fa22e884c9c500e1f17415d580746b4c5894fbbb780a1319bbcfa39a745bb", length=28_024_106
    ),
    "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz": Published(LATTE, "7da33b31b13a06f4b04a70402ce90c2e", "md5"),
    "3dshapes.h5": Published(
        TFDS, "0a0f6ed98baff276a50f3a081a7434d788da63cb135a98189b2a5b5769be1785", length=267_573_662
    ),
    "mpi3d_toy.npz": Published(DISENT, "55889cb7c7dfc655d6e0277beee88868", "md5", mirrored=True),
    "mpi3d_realistic.npz": Published(DISENT, "59a6225b88b635365f70c91b3e52f70f", "md5", mirrored=True),
    "mpi3d_real.npz": Published(DISENT, "0f33f609918fb5c97996692f91129802", "md5", mirrored=True),
    "smallnorb-5x01235x9x18x6x2x96x96-testing-cat.mat.gz": Published(
        TFDS, "ecaf6d5bb8c3bc5eab9cf0258f6d2198dd474e016e374836fc097f2e5ff509ff", length=347
    ),
    "smallnorb-5x01235x9x18x6x2x96x96-testing-dat.mat.gz": Published(
        TFDS, "cf7104eed3e51174d2f65b66d1e5878b9da233b886f161b0d88f4510ba2c7474", length=130_799_817
    ),
    "smallnorb-5x01235x9x18x6x2x96x96-testing-info.mat.gz": Published(
        TFDS, "16adf314226327ee006d1a44db8cfef52773c06c829951d5653a9f6f310248a2", length=10_428
    ),
    "smallnorb-5x46789x9x18x6x2x96x96-training-cat.mat.gz": Published(
        TFDS, "2784e542c1922060691090952b6cd6278879a216c90f81476f0f00256d42cdaa", length=348
    ),
    "smallnorb-5x46789x9x18x6x2x96x96-training-dat.mat.gz": Published(
        TFDS, "5ffd6272a07d32695ee1082a26a41a93a37aab8c28da047f8c34ed348d214873", length=131_896_188
    ),
    "smallnorb-5x46789x9x18x6x2x96x96-training-info.mat.gz": Published(
        TFDS, "de7eb932ebe7a4ee16217fead60660d0eb3d23632c2f4d1c51f88c501c17bf32", length=71_052
    ),
}
