"""Every objective's encoder becomes a torch program that gives the same codes, with nothing pickled in its archive."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import pytest

from pbt_disent.errors import PbtDisentError
from pbt_disent.models import OBJECTIVES, LatentModel, Objective, export
from pbt_disent.models.export import TOLERANCE, export_encoder

Make = Callable[..., Objective]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_it_gives_the_codes_of_the_model(make: Make, name: str) -> None:
    archive, difference = export_encoder(LatentModel(make(name)))
    assert 0 <= difference <= TOLERANCE
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        pickled = [one for one in files.infolist() if one.filename.endswith((".pt", ".pkl"))]
        assert not any(one.file_size for one in pickled)  # torch 2.13 leaves an empty file for the inputs


def test_another_model_s_codes_are_noticed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model, other = (LatentModel(make(seed=seed)) for seed in (0, 1))
    export_program = export.torch.export.export
    monkeypatch.setattr(
        export.torch.export, "export", lambda _, *rest, **named: export_program(other_encoder, *rest, **named)
    )
    other_encoder = export._Encoder(other.objective).eval()
    with pytest.raises(PbtDisentError, match="differs from the model"):
        export_encoder(model)
