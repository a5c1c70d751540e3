"""Options of objectives, checked as a config's are."""

from __future__ import annotations

from typing import Any

from pbt_disent.models.contract import ObjectiveOptions
from pbt_disent.models.networks import ImageShape
from pbt_disent.registry import Choice, OptionError

__all__ = ["options_of"]


def options_of(name: str = "betatcvae", image_shape: ImageShape = (1, 32, 32), **values: Any) -> ObjectiveOptions:
    """Return the options that an ``objective`` section with these values stands for, resolved for images.

    Raises:
        UserError: What a user would see.
    """
    try:
        options = Choice("objective", "betatcvae").validate({"name": name, **values})
    except OptionError as error:
        raise error.within("objective").to_user_error() from None
    assert isinstance(options, ObjectiveOptions)
    return options.resolve(image_shape)
