"""The real bundles that `make train` made, as fixtures."""

from pathlib import Path

import pytest

from handler.scorer import Scorer, load_scorer

BUNDLES = Path(__file__).parents[2] / "build" / "bundles"


@pytest.fixture(scope="session")
def transaction() -> Scorer:
    """The transaction scorer."""
    return load_scorer(BUNDLES / "transaction")


@pytest.fixture(scope="session")
def refund() -> Scorer:
    """The refund scorer."""
    return load_scorer(BUNDLES / "refund")
