"""Named tensors and a JSON header as safetensors bytes: equal content gives equal bytes, nothing executes on load.

safetensors keeps metadata as an unordered map of strings, so the header is one string under one key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import safetensors
import safetensors.torch
from torch import Tensor

from pbt_disent.errors import UserError
from pbt_disent.types import Json

__all__ = ["pack", "unpack"]

_KEY = "pbt_disent"


def pack(tensors: Mapping[str, Tensor], header: Json) -> bytes:
    """Return the bytes of some tensors, of any device and memory layout, and a header of JSON values."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(plain, {_KEY: json.dumps(header, sort_keys=True, separators=(",", ":"))})


def unpack(content: bytes, name: str = "the file") -> tuple[dict[str, Tensor], Json]:
    """Return the tensors (on the CPU) and the header of bytes made by `pack`.

    Args:
        content: the bytes.
        name: what they are called in messages.

    Raises:
        UserError: they are no safetensors, or carry no header of this package.
    """
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(content)
        length = int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][_KEY])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise UserError(name, f"must be a model of this package ({type(error).__name__})", "check the path") from None
    if not isinstance(header, dict):
        raise UserError(name, "must be a model of this package (its header is no mapping)", "check the path")
    return tensors, header
