"""The real bundles that `make train` made, and a deployment with other versions of them, as fixtures."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from handler.releases.served import Slot
from handler.releases.swap import Watcher
from handler.scoring.scorer import Scorer, load_scorer
from tests.handler.deployment import BUNDLES, Deployment, ObservedStore, is_looking, wait_until
from training.delivery.store_writer import FolderStoreWriter


@pytest.fixture(scope="session")
def transaction() -> Scorer:
    """The transaction scorer."""
    return load_scorer(BUNDLES / "transaction")


@pytest.fixture(scope="session")
def refund() -> Scorer:
    """The refund scorer."""
    return load_scorer(BUNDLES / "refund")


@pytest.fixture(params=["refund", "transaction"])
def scorer(request: pytest.FixtureRequest) -> Scorer:
    """Each of the two scorers."""
    scorer: Scorer = request.getfixturevalue(request.param)
    return scorer


@pytest.fixture
def deployment(tmp_path: Path, refund: Scorer) -> Iterator[Deployment]:
    """A deployment with an empty store; its watcher no longer runs after the test."""
    writer, slot = FolderStoreWriter(tmp_path / "store"), Slot(refund)
    store = ObservedStore(writer)
    yield Deployment(writer, store, slot, Watcher(store, {"refund": slot}, seconds=3600))
    store.go_on.set()
    wait_until(lambda: not is_looking())
