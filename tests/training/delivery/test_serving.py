"""Choosing the version that scores: a named store without a release is reported."""

from pathlib import Path

import pytest

from training.delivery.serving import chosen_bundle
from training.run.progress import warn_once


@pytest.mark.parametrize(("address", "is_told"), [("store", False), ("1", True)])
def test_mistaken_address_is_told(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str, *, is_told: bool
) -> None:
    """The packaged bundle scores if the store has no release; a warning says so if an address was given."""
    monkeypatch.chdir(trained)
    warn_once.cache_clear()
    scorer, _ = chosen_bundle("mini", "", address)
    assert scorer.bundle.scorer == "mini"
    warning = "1 holds no release of mini (STORE names the store); the packaged bundle is used\n"
    assert capsys.readouterr().err == (warning if is_told else "")
