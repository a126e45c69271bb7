"""A publication that is killed at any step leaves a store that serves, and the next publication succeeds."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from handler.releases.swap import load_released
from training.delivery.pointer import read_history, update_pointer
from training.delivery.publish import publish
from training.delivery.store_writer import FolderStoreWriter, S3StoreWriter, open_store_writer, read_current_pointer

PROJECT = Path(__file__).parents[3]
# More than one, so that a publication meets what a killed one left; few, because each version is loaded every time.
ROUNDS_A_STORE = 2
SEED = 9
# The longest delay between a step and the kill, so that a child is also killed in the time after its last step.
LONGEST_SECONDS = 0.002

pytestmark = pytest.mark.usefixtures("unmeasured")

Kill = Callable[..., dict[str, int]]
AnyStore = FolderStoreWriter | S3StoreWriter


@pytest.fixture
def kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kill]:
    """Let a child publish and move the pointer, kill it at a step, and return how it ended."""
    # Without a checkout and without git, which would otherwise be called seven times a round.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", Path(__file__).with_name("killed_publications.py")],
        env={**os.environ, **one_thread, "PYTHONPATH": str(PROJECT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def kill_one(address: str, folder: Path, *, steps: int, seconds: float) -> dict[str, int]:
        request = {"address": address, "folder": str(folder), "steps": steps, "seconds": seconds}
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield kill_one
    process.communicate()
    assert process.returncode == 0


@pytest.fixture
def variants(variant: Callable[..., Path]) -> list[Path]:
    """One sound version for each publication into a store, after the one that is in it from the start."""
    return [variant(shift=number / 100) for number in range(ROUNDS_A_STORE + 1)]


def new_store(address: str, first: Path) -> AnyStore:
    """A store in which a first version is current."""
    store = open_store_writer(address)
    version = publish(store, first)
    update_pointer(store, "mini", "promote", lambda _: {"current": version})
    return store


def state_of(store: AnyStore) -> tuple[list[str], str | None, int]:
    """The listed versions, the current one, and the pointer's serial number.

    Checks that every version loads, and that the history has every move of the pointer in order.
    """
    versions = store.names("mini/bundles")
    assert [load_released(store, "mini", version).version for version in versions] == versions
    pointer, _ = read_current_pointer(store, "mini")
    assert pointer.current in versions
    assert [past.serial for past in read_history(store, "mini")] == list(range(1, pointer.serial + 1))
    return versions, pointer.current, pointer.serial


def kill_often(kill: Kill, fresh_store: Callable[[], AnyStore], variants: list[Path], *, rounds: int) -> Counter[str]:
    """Counts how far killed children got; after each of them the store is sound.

    The kills are spread evenly from the first step to beyond the last one, however fast the machine is.
    """
    chance, reached = random.Random(SEED), Counter[str]()  # noqa: S311 - the same kills at each run
    unkilled = kill(str(fresh_store()), variants[1], steps=1_000_000, seconds=0)
    assert unkilled["status"] == 0
    kills = [1 + number * unkilled["steps"] // (rounds - 1) for number in range(rounds)]
    chance.shuffle(kills)
    start = state_of(fresh_store())
    for number, steps in enumerate(kills):
        if number % ROUNDS_A_STORE == 0:
            store, (before, current, serial) = fresh_store(), start
        variant = variants[1 + number % ROUNDS_A_STORE]
        ended = kill(str(store), variant, steps=steps, seconds=chance.uniform(0, LONGEST_SECONDS))
        assert ended["status"] in (0, -signal.SIGKILL), ended
        versions, now, moved = state_of(store)
        new = sorted({*versions} - {*before})
        assert (now, moved) in [(current, serial), *((version, serial + 1) for version in new)]
        version = publish(store, variant)
        assert store.names("mini/bundles") == sorted([*before, version])
        assert now == version or ended["status"] != 0
        far = "moved" if now == version else "published" if new else "begun"
        reached["finished" if ended["status"] == 0 else far] += 1
        before, current, serial = [*before, version], now, moved
    return reached


def test_kills_of_a_publication_into_a_folder(kill: Kill, tmp_path: Path, variants: list[Path]) -> None:
    """After a kill at any step, every version and the pointer are whole, and the same publication succeeds."""
    template, stores = new_store(str(tmp_path / "template"), variants[0]), tmp_path / "stores"

    def fresh_store() -> FolderStoreWriter:
        return FolderStoreWriter(Path(shutil.copytree(template.root, stores / uuid4().hex)))

    reached = kill_often(kill, fresh_store, variants, rounds=16)
    assert reached["begun"] >= 5
    assert reached["published"] >= 1
    assert not [*stores.glob("*/mini/bundles/.*")]


def test_kills_of_a_publication_into_s3(bucket: str, kill: Kill, variants: list[Path]) -> None:
    """The same holds in S3; there are fewer kills because every step is a request."""
    reached = kill_often(kill, lambda: new_store(f"s3://{bucket}/{uuid4().hex}", variants[0]), variants, rounds=5)
    assert reached["begun"] + reached["published"] >= 2
