from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from pbt_disent.errors import UserError, nearest
from pbt_disent.registry import Registry
from pbt_disent.seeds import Streams


def test_a_stream_is_its_name() -> None:
    first = Streams(1).generator("a", 2).random(5)
    assert np.array_equal(first, Streams(1).generator("a", 2).random(5))
    for other in (Streams(2).generator("a", 2), Streams(1).generator("a", 3), Streams(1).generator("a", "2")):
        assert not np.array_equal(first, other.random(5))
    assert Streams(1).integer("a") != Streams(1).integer("b")
    assert 0 <= Streams(1).integer("a") < 2**63


def test_streams_are_the_same_in_every_release() -> None:
    """Runs are resumed by later versions: these draws may not change."""
    assert Streams(7).integer("x", 1) == 3314204614748296393
    assert Streams(7).generator("x", 1).integers(1_000_000) == 206420


def test_names_with_separators_do_not_collide() -> None:
    assert Streams(0).integer("a", "b") != Streams(0).integer("ab")
    assert Streams(0).integer("a/b") != Streams(0).integer("a", "b")


def test_a_user_error_says_value_rule_remedy_and_survives_pickling() -> None:
    error = UserError("x=1", "must be 2", "give 2")
    assert str(error) == "x=1: must be 2; give 2"
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.exit_code == 2


def test_nearest_names_the_closest() -> None:
    assert nearest("betatcva", ["betatcvae", "vae"]).startswith("did you mean 'betatcvae'?")
    assert nearest("zzz", ["a"]) == "known: a"


def test_a_registry_fills_itself_from_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "things_for_test"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from pbt_disent.registry import Registry\nTHINGS = Registry('thing', 'things_for_test')\n"
    )
    (package / "one.py").write_text("from things_for_test import THINGS\nTHINGS.register('one')(1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    from things_for_test import THINGS  # type: ignore[import-not-found]

    assert isinstance(THINGS, Registry)
    assert list(THINGS) == ["one"]
    assert THINGS["one"] == 1
    assert "one" in THINGS
    assert "two" not in THINGS
    with pytest.raises(UserError, match=r"thing 'ona': is no known thing; did you mean 'one'\?"):
        THINGS["ona"]
    with pytest.raises(KeyError, match="registered twice"):
        THINGS.register("one")(2)
    del sys.modules["things_for_test"]
