"""The store as it is written to: whole bundles, content that never changes, a pointer that only one mover can move."""

from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Lock, Thread
from typing import Any

import pytest
from moto.s3.responses import S3Response

from benchmarks.variants import contents_of
from handler.releases.store import MissingError, StoreError, bundle_key, pointer_key
from handler.releases.swap import load_released
from handler.scoring.bundle import FILES, MANIFEST, BundleError, load_bundle
from training.delivery.pointer import read_history, update_pointer
from training.delivery.store_writer import (
    UNFINISHED,
    FolderStoreWriter,
    S3StoreWriter,
    open_store_writer,
    read_if_there,
)
from training.errors import StageError

AnyStore = FolderStoreWriter | S3StoreWriter
LIMIT = 10_000_000
MOVERS, ROUNDS = 4, 6


@pytest.fixture
def s3_store(bucket: str) -> S3StoreWriter:
    """An empty store in S3."""
    return S3StoreWriter(bucket, "models/")


@pytest.fixture(scope="session")
def contents(mini_bundle: Path) -> dict[str, bytes]:
    """The files of the mini scorer's bundle."""
    return contents_of(mini_bundle)


@pytest.fixture(scope="session")
def version(mini_bundle: Path) -> str:
    """The version of the mini scorer's bundle."""
    return load_bundle(mini_bundle).version


def damaged(contents: dict[str, bytes], name: str = "model.ubj") -> dict[str, bytes]:
    """The same files, one with its last byte turned over."""
    return {**contents, name: contents[name][:-1] + bytes([contents[name][-1] ^ 0xFF])}


def put_all_but_the_manifest(store: AnyStore, contents: dict[str, bytes], version: str) -> None:
    """Put the files of a bundle, as a publication does that dies before its last step."""
    for name in FILES:
        store.put_new(bundle_key("mini", version, name), contents[name])


def test_new_content_is_kept(store: AnyStore) -> None:
    """What is put under a free key is read again."""
    store.put_new("mini/releases/one.json", b"one")
    assert store.read("mini/releases/one.json", LIMIT) == b"one"


def test_the_same_content_may_be_put_again(store: AnyStore) -> None:
    """Putting what is there already is no mistake, and changes nothing."""
    for _ in range(2):
        store.put_new("mini/releases/one.json", b"one")
    assert store.read("mini/releases/one.json", LIMIT) == b"one"


def test_other_content_is_refused(store: AnyStore) -> None:
    """Where a key holds something else, that stays, and the error names the place."""
    store.put_new("mini/releases/one.json", b"one")
    with pytest.raises(StageError, match=r"models/mini/releases/one\.json|store/mini/releases/one\.json") as raised:
        store.put_new("mini/releases/one.json", b"two")
    assert "exists already with other content; what is published is never changed" in str(raised.value)
    assert store.read("mini/releases/one.json", LIMIT) == b"one"


def test_a_bundle_is_put_whole(store: AnyStore, contents: dict[str, bytes], version: str) -> None:
    """A bundle that was put is listed, loads, and has its files byte for byte."""
    store.put_bundle("mini", version, contents)
    assert store.names("mini/bundles") == [version]
    assert load_released(store, "mini", version).version == version
    assert {name: store.read(bundle_key("mini", version, name), LIMIT) for name in contents} == contents


def test_a_bundle_may_be_put_again(store: AnyStore, contents: dict[str, bytes], version: str) -> None:
    """Putting a bundle that is there already is no mistake."""
    for _ in range(2):
        store.put_bundle("mini", version, contents)
    assert store.names("mini/bundles") == [version]
    assert {name: store.read(bundle_key("mini", version, name), LIMIT) for name in contents} == contents


@pytest.mark.parametrize("name", ["model.ubj", MANIFEST])
def test_a_damaged_bundle_is_refused(store: AnyStore, contents: dict[str, bytes], version: str, name: str) -> None:
    """A bundle that is damaged before it is put is refused, and nobody sees it."""
    with pytest.raises(BundleError, match="is damaged"):
        store.put_bundle("mini", version, damaged(contents, name))
    assert store.names("mini/bundles") == []


def test_a_bundle_under_another_version_is_refused(store: AnyStore, contents: dict[str, bytes], version: str) -> None:
    """A bundle has no other name than the version that its content gives."""
    with pytest.raises(BundleError, match=f"contains version {version} of mini"):
        store.put_bundle("mini", "0123456789ab", contents)
    assert store.names("mini/bundles") == []


def test_a_sound_bundle_follows_a_damaged_one(store: AnyStore, contents: dict[str, bytes], version: str) -> None:
    """A refused bundle does not stand in the way of the sound one of that version."""
    with pytest.raises(BundleError, match="is damaged"):
        store.put_bundle("mini", version, damaged(contents))
    store.put_bundle("mini", version, contents)
    assert load_released(store, "mini", version).version == version


def test_leftovers_are_hidden_and_swept(
    folder_store: FolderStoreWriter, contents: dict[str, bytes], version: str
) -> None:
    """What a dead process left unfinished is never listed, and gone after the next publication."""
    left = folder_store.root / "mini" / "bundles" / f"{UNFINISHED}dead"
    left.mkdir(parents=True)
    (left / "model.ubj").write_bytes(b"half a mod")
    assert folder_store.names("mini/bundles") == []
    folder_store.put_bundle("mini", version, contents)
    assert [path.name for path in left.parent.iterdir()] == [version]


def test_leftovers_are_swept_where_the_bundle_is_there(
    folder_store: FolderStoreWriter, contents: dict[str, bytes], version: str
) -> None:
    """A publication that has nothing to add sweeps all the same."""
    folder_store.put_bundle("mini", version, contents)
    left = folder_store.root / "mini" / "bundles" / f"{UNFINISHED}dead"
    left.mkdir()
    folder_store.put_bundle("mini", version, contents)
    assert not left.exists()


def test_an_unfinished_pointer_is_swept(folder_store: FolderStoreWriter) -> None:
    """What a dead process left of a pointer, under its temporary name, is gone after the next move."""
    folder_store.exchange_pointer("mini", b"first", None)
    left = folder_store.root / "mini" / ".pointer.json.4242"
    left.write_bytes(b"half a poin")
    folder_store.exchange_pointer("mini", b"second", b"first")
    assert not left.exists()


def test_a_bundles_folder_is_read_by_others(
    folder_store: FolderStoreWriter, contents: dict[str, bytes], version: str
) -> None:
    """Who serves may be another user than who publishes."""
    folder_store.put_bundle("mini", version, contents)
    assert (folder_store.root / "mini" / "bundles" / version).stat().st_mode & 0o777 == 0o755


def test_a_partial_upload_is_not_listed(s3_store: S3StoreWriter, contents: dict[str, bytes], version: str) -> None:
    """In S3 a bundle is none before its manifest is there."""
    put_all_but_the_manifest(s3_store, contents, version)
    assert s3_store.names("mini/bundles") == []


def test_a_partial_upload_is_completed(s3_store: S3StoreWriter, contents: dict[str, bytes], version: str) -> None:
    """The next publication of the version that a dead process began makes it whole."""
    put_all_but_the_manifest(s3_store, contents, version)
    s3_store.put_bundle("mini", version, contents)
    assert s3_store.names("mini/bundles") == [version]
    assert load_released(s3_store, "mini", version).version == version


def test_a_leftover_of_other_content_is_refused(
    s3_store: S3StoreWriter, contents: dict[str, bytes], version: str
) -> None:
    """Where an object of a bundle is there already and holds something else, the bundle is not published."""
    s3_store.put_new(bundle_key("mini", version, "model.ubj"), b"another model")
    with pytest.raises(StageError, match=rf"mini/bundles/{version}/model\.ubj exists already"):
        s3_store.put_bundle("mini", version, contents)
    assert s3_store.names("mini/bundles") == []


def test_a_first_pointer_is_written(store: AnyStore) -> None:
    """Where nothing was seen and nothing is there, a pointer is created."""
    store.exchange_pointer("mini", b"first", None)
    assert store.read(pointer_key("mini"), LIMIT) == b"first"


def test_a_pointer_that_was_seen_is_exchanged(store: AnyStore) -> None:
    """Where what was seen is still there, the new pointer takes its place."""
    store.exchange_pointer("mini", b"first", None)
    store.exchange_pointer("mini", b"second", b"first")
    assert store.read(pointer_key("mini"), LIMIT) == b"second"


@pytest.mark.parametrize("seen", [pytest.param(None, id="nothing"), pytest.param(b"older", id="another")])
def test_a_pointer_that_was_not_seen_stays(store: AnyStore, seen: bytes | None) -> None:
    """Where another pointer is there than was seen, or one although none was, it stays."""
    store.exchange_pointer("mini", b"first", None)
    with pytest.raises(StageError, match=r"mini/pointer\.json was updated by another writer"):
        store.exchange_pointer("mini", b"second", seen)
    assert store.read(pointer_key("mini"), LIMIT) == b"first"


def test_a_pointer_that_is_gone_is_not_written(store: AnyStore) -> None:
    """Where the pointer that was seen is no longer there, none is written."""
    with pytest.raises((StageError, MissingError)):
        store.exchange_pointer("mini", b"second", b"first")
    assert read_if_there(store, pointer_key("mini")) is None


class OvertakenStore(S3StoreWriter):
    """A store in S3 in which somebody moves the pointer while it is looked at."""

    def read_tagged(self, key: str, limit: int) -> tuple[bytes, str]:
        """What was there before the move."""
        found = super().read_tagged(key, limit)
        S3StoreWriter(self.bucket, self.prefix).exchange_pointer("mini", b"theirs", found[0])
        return found


def test_a_pointer_that_moves_between_look_and_write_stays(s3_store: S3StoreWriter) -> None:
    """In S3 the write itself is refused where the pointer is no longer the one that was looked at."""
    s3_store.exchange_pointer("mini", b"first", None)
    with pytest.raises(StageError, match="was updated by another writer"):
        OvertakenStore(s3_store.bucket, s3_store.prefix).exchange_pointer("mini", b"mine", b"first")
    assert s3_store.read(pointer_key("mini"), LIMIT) == b"theirs"


@pytest.fixture
def atomic_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets moto do what S3 promises: nothing comes between the check of a write's condition and the write."""
    put, lock = S3Response.put_object, Lock()

    def put_one_by_one(response: S3Response) -> Any:  # noqa: ANN401 - moto's own type
        with lock:
            return put(response)

    monkeypatch.setattr(S3Response, "put_object", put_one_by_one)


@pytest.mark.usefixtures("atomic_conditions")
def test_of_simultaneous_moves_one_succeeds(address: str) -> None:
    """Of several movers who saw the same pointer one moves it; each move that was reported is kept, in its turn."""
    together, reported = Barrier(MOVERS), []

    def keep_moving(own: AnyStore, name: str) -> None:
        def change(_: object) -> dict[str, Any]:
            # Everybody has read the pointer, nobody has written one.
            together.wait(timeout=20)
            return {"reason": name}

        for _ in range(ROUNDS):
            try:
                reported.append(update_pointer(own, "mini", "shadow", change))
            except StageError as error:
                assert "was updated by another writer" in str(error)  # noqa: PT017 - who loses is told why

    movers = [Thread(target=keep_moving, args=(open_store_writer(address), f"mover {one}")) for one in range(MOVERS)]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join()
    history = read_history(open_store_writer(address), "mini")
    assert [pointer.serial for pointer in history] == list(range(1, ROUNDS + 1))
    assert history == sorted(reported, key=lambda pointer: pointer.serial)


def test_names_are_in_the_order_of_the_alphabet(store: AnyStore) -> None:
    """Names come sorted, in whichever order they were put."""
    for name in ("000010.json", "000002.json", "000001.json"):
        store.put_new(f"mini/history/{name}", b"{}")
    assert store.names("mini/history") == ["000001.json", "000002.json", "000010.json"]


def test_names_are_one_scorers(store: AnyStore) -> None:
    """A scorer whose name begins like another's has names of its own."""
    store.put_new("mini/history/000001.json", b"{}")
    store.put_new("minimal/history/000002.json", b"{}")
    assert store.names("mini/history") == ["000001.json"]
    assert store.names("mini") == ["history"]


def test_nothing_has_no_names(store: AnyStore) -> None:
    """In a store that is empty, or not there yet, nothing is listed."""
    assert store.names("mini/bundles") == []


def test_nothing_there_is_none(store: AnyStore) -> None:
    """What may be there is its content where it is, and None where it is not."""
    store.put_new("mini/releases/one.json", b"one")
    assert read_if_there(store, "mini/releases/one.json") == b"one"
    assert read_if_there(store, "mini/releases/two.json") is None


@pytest.mark.parametrize("address", ["gs://bucket/models", "s3://", "https://example.com/store"])
def test_another_kind_of_store_is_refused(address: str) -> None:
    """An address that is neither a folder's nor S3's is refused with what it may be."""
    with pytest.raises(StageError, match="must be a folder, or s3://bucket or s3://bucket/prefix"):
        open_store_writer(address)


@pytest.mark.parametrize("end", ["", "/", "/models", "/models/"])
def test_a_prefix_may_be_written_in_several_ways(bucket: str, end: str) -> None:
    """Keys lie below the prefix that the address names, with or without its last slash."""
    open_store_writer(f"s3://{bucket}{end}").put_new("mini/pointer.json", b"{}")
    above = "" if end in ("", "/") else "models/"
    assert S3StoreWriter(bucket, above).read("mini/pointer.json", LIMIT) == b"{}"


@pytest.mark.usefixtures("s3_environment")
@pytest.mark.parametrize(
    ("attempt", "why"),
    [
        pytest.param(lambda store: store.put_new("a/b", b""), "a/b cannot be written: NoSuchBucket", id="write"),
        pytest.param(lambda store: store.names("a"), "a cannot be listed: .*NoSuchBucket", id="list"),
    ],
)
def test_a_bucket_that_is_not_there_is_told(attempt: Callable[[S3StoreWriter], object], why: str) -> None:
    """A store in a bucket that does not exist can neither be written nor listed, and says so."""
    with pytest.raises(StoreError, match=rf"s3://no-such-bucket/models/{why}"):
        attempt(S3StoreWriter("no-such-bucket", "models/"))


@pytest.mark.parametrize(
    ("attempt", "why"),
    [
        pytest.param(lambda store: store.put_new("a/b", b""), "a/b cannot be written: EndpointConnectionError", id="w"),
        pytest.param(lambda store: store.names("a"), "a cannot be listed: Could not connect", id="l"),
    ],
)
def test_a_server_that_is_not_there_is_told(
    s3_environment: dict[str, str],  # noqa: ARG001 - credentials, so that the client gets as far as the network
    monkeypatch: pytest.MonkeyPatch,
    attempt: Callable[[S3StoreWriter], object],
    why: str,
) -> None:
    """Where nobody answers, a store can neither be written nor listed, and says so."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match=rf"s3://bucket/models/{why}"):
        attempt(S3StoreWriter("bucket", "models/"))
