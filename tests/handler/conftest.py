"""The real bundles that `make train` made, and a store of other versions of them, as fixtures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from handler.releases.store import Pointer
from handler.scoring.scorer import Scorer, load_scorer
from training.delivery.store_writer import FolderStoreWriter

BUNDLES = Path(__file__).parents[2] / "build" / "bundles"


@pytest.fixture(scope="session")
def transaction() -> Scorer:
    """The transaction scorer."""
    return load_scorer(BUNDLES / "transaction")


@pytest.fixture(scope="session")
def refund() -> Scorer:
    """The refund scorer."""
    return load_scorer(BUNDLES / "refund")


@pytest.fixture
def store_writer(tmp_path: Path) -> FolderStoreWriter:
    """An empty store in a folder."""
    return FolderStoreWriter(tmp_path / "store")


@pytest.fixture
def release(store_writer: FolderStoreWriter) -> Callable[..., str]:
    """Puts another version of a scorer's bundle into the store, as `write_variant` makes it; returns the version."""
    from benchmarks.variants import write_variant  # noqa: PLC0415 - a second and a half, which few tests need

    def add(scorer: str = "refund", **changes: Any) -> str:  # noqa: ANN401 - write_variant's own
        unnamed = store_writer.root / scorer / "bundles" / uuid4().hex
        version = write_variant(BUNDLES / scorer, unnamed, **changes)
        unnamed.rename(unnamed.with_name(version))
        return version

    return add


@pytest.fixture
def point(store_writer: FolderStoreWriter) -> Callable[..., Pointer]:
    """Updates refund's pointer: the given fields change, the others stay."""
    from training.delivery.pointer import update_pointer  # noqa: PLC0415 - as above

    def update(**changes: str | None) -> Pointer:
        return update_pointer(store_writer, "refund", "promote", lambda _: dict(changes))

    return update


@pytest.fixture
def promote(release: Callable[..., str], point: Callable[..., Pointer]) -> Callable[..., str]:
    """Releases another version and makes it refund's current one; returns the version."""

    def promote_release(**changes: Any) -> str:  # noqa: ANN401 - as above
        version = release(**changes)
        point(current=version)
        return version

    return promote_release
