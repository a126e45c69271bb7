"""Writing into a store: whole bundles, content that never changes, and pointer updates that cannot collide."""

from io import BytesIO
from pathlib import Path
from threading import Barrier, Lock, Thread
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from moto.s3.responses import S3Response
from urllib3 import HTTPResponse

from benchmarks.variants import contents_of
from handler.releases.store import MissingError, StoreError, bundle_key, pointer_key
from handler.releases.swap import load_released
from handler.scoring.bundle import FILES, MANIFEST, BundleError, load_bundle
from training.delivery import store_writer
from training.delivery.pointer import read_history, update_pointer
from training.delivery.store_writer import (
    PROBE,
    UNFINISHED,
    FolderStoreWriter,
    S3StoreWriter,
    open_store_writer,
    read_if_there,
)
from training.errors import StageError

AnyStore = FolderStoreWriter | S3StoreWriter
LIMIT = 10_000_000
WRITERS, ROUNDS = 4, 6


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


def test_content_is_never_changed(store: AnyStore) -> None:
    """The same content may be put again; other content under the same key is refused, and the first one stays."""
    assert read_if_there(store, "mini/releases/one.json") is None
    for _ in range(2):
        store.put_new("mini/releases/one.json", b"one")
    with pytest.raises(StageError, match=r"models/mini/releases/one\.json|store/mini/releases/one\.json") as raised:
        store.put_new("mini/releases/one.json", b"two")
    assert "already exists with other content; published files are never changed" in str(raised.value)
    assert store.read("mini/releases/one.json", LIMIT) == b"one"
    assert read_if_there(store, "mini/releases/one.json") == b"one"


def test_bundle_is_put_whole(store: AnyStore, contents: dict[str, bytes], version: str) -> None:
    """A bundle that was put once or twice is listed, loads, and has its files byte for byte."""
    for _ in range(2):
        store.put_bundle("mini", version, contents)
        assert store.names("mini/bundles") == [version]
        assert load_released(store, "mini", version).version == version
        assert {name: store.read(bundle_key("mini", version, name), LIMIT) for name in contents} == contents


@pytest.mark.parametrize("name", ["model.ubj", MANIFEST])
def test_damaged_bundle_is_refused(store: AnyStore, contents: dict[str, bytes], version: str, name: str) -> None:
    """A bundle that is damaged, or has another version, is not listed; a sound one can be put afterwards."""
    damaged = {**contents, name: contents[name][:-1] + bytes([contents[name][-1] ^ 0xFF])}
    with pytest.raises(BundleError, match="is damaged"):
        store.put_bundle("mini", version, damaged)
    with pytest.raises(BundleError, match=f"contains version {version} of mini"):
        store.put_bundle("mini", "0123456789ab", contents)
    assert store.names("mini/bundles") == []
    store.put_bundle("mini", version, contents)
    assert load_released(store, "mini", version).version == version


@pytest.mark.parametrize("is_published", [False, True])
def test_unfinished_bundle_is_hidden_and_swept(
    folder_store: FolderStoreWriter, contents: dict[str, bytes], version: str, *, is_published: bool
) -> None:
    """What a dead process left is never listed, and the next publication removes it, even one of a known version."""
    if is_published:
        folder_store.put_bundle("mini", version, contents)
    left = folder_store.root / "mini" / "bundles" / f"{UNFINISHED}dead"
    left.mkdir(parents=True)
    (left / "model.ubj").write_bytes(b"half a mod")
    assert folder_store.names("mini/bundles") == ([version] if is_published else [])
    folder_store.put_bundle("mini", version, contents)
    assert [path.name for path in left.parent.iterdir()] == [version]
    # The serving process may run as another user than the publishing one.
    assert (left.parent / version).stat().st_mode & 0o777 == 0o755


def test_unfinished_pointer_is_swept(folder_store: FolderStoreWriter) -> None:
    """A temporary file of the pointer that a dead process left is removed by the next update."""
    folder_store.exchange_pointer("mini", b"first", None)
    left = folder_store.root / "mini" / ".pointer.json.4242"
    left.write_bytes(b"half a poin")
    folder_store.exchange_pointer("mini", b"second", b"first")
    assert not left.exists()


def test_partial_upload_is_completed(s3_store: S3StoreWriter, contents: dict[str, bytes], version: str) -> None:
    """In S3 a bundle is listed once its manifest is there; publishing the version again completes it."""
    for name in FILES:
        s3_store.put_new(bundle_key("mini", version, name), contents[name])
    assert s3_store.names("mini/bundles") == []
    s3_store.put_bundle("mini", version, contents)
    assert s3_store.names("mini/bundles") == [version]
    assert load_released(s3_store, "mini", version).version == version


def test_leftover_of_other_content_is_refused(
    s3_store: S3StoreWriter, contents: dict[str, bytes], version: str
) -> None:
    """If one of a bundle's objects already exists with other content, the bundle is not published."""
    s3_store.put_new(bundle_key("mini", version, "model.ubj"), b"another model")
    with pytest.raises(StageError, match=rf"mini/bundles/{version}/model\.ubj already exists"):
        s3_store.put_bundle("mini", version, contents)
    assert s3_store.names("mini/bundles") == []


def test_pointer_is_exchanged_only_for_the_one_that_was_seen(store: AnyStore) -> None:
    """A pointer is not written if another writer has updated, created or removed it since it was read."""
    with pytest.raises((StageError, MissingError)):
        store.exchange_pointer("mini", b"second", b"first")
    assert read_if_there(store, pointer_key("mini")) is None
    for content, seen in ((b"first", None), (b"second", b"first")):
        store.exchange_pointer("mini", content, seen)
        assert store.read(pointer_key("mini"), LIMIT) == content
    for seen in (None, b"first"):
        with pytest.raises(StageError, match=r"mini/pointer\.json was updated by another writer"):
            store.exchange_pointer("mini", b"third", seen)
    assert store.read(pointer_key("mini"), LIMIT) == b"second"


class OvertakenStore(S3StoreWriter):
    """A store in S3 in which another writer updates the pointer right after each read."""

    def read_tagged(self, key: str, limit: int) -> tuple[bytes, str]:
        """The content as it was before the other writer's update."""
        tagged = super().read_tagged(key, limit)
        S3StoreWriter(self.bucket, self.prefix).exchange_pointer("mini", b"theirs", tagged[0])
        return tagged


def test_pointer_that_changes_between_read_and_write_stays(s3_store: S3StoreWriter) -> None:
    """In S3 the write itself is refused if the pointer is no longer the one that was read."""
    s3_store.exchange_pointer("mini", b"first", None)
    with pytest.raises(StageError, match="was updated by another writer"):
        OvertakenStore(s3_store.bucket, s3_store.prefix).exchange_pointer("mini", b"mine", b"first")
    assert s3_store.read(pointer_key("mini"), LIMIT) == b"theirs"


def keys_of(store: S3StoreWriter) -> list[str]:
    """Every key in a store's bucket."""
    return [entry["Key"] for entry in store.client.list_objects_v2(Bucket=store.bucket).get("Contents", [])]


@pytest.mark.parametrize("ignored", [("If-None-Match", "If-Match"), ("If-None-Match",), ("If-Match",)])
def test_store_that_ignores_conditions_is_refused(s3_store: S3StoreWriter, ignored: tuple[str, ...]) -> None:
    """Two writers could overwrite each other in such a store, so nothing is written."""

    def drop(params: dict[str, Any], **_: object) -> None:
        for name in ignored:
            params["headers"].pop(name, None)

    s3_store.client.meta.events.register("before-call.s3.PutObject", drop)
    for _ in range(2):
        with pytest.raises(StageError, match="models ignores conditional writes; a store of releases must honour"):
            s3_store.put_new("mini/releases/one.json", b"one")
    assert keys_of(s3_store) == []


def test_store_without_conditions_is_refused(s3_store: S3StoreWriter) -> None:
    """A store that answers 501 to a conditional write is refused as one that cannot hold releases."""

    def refuse(**_: object) -> tuple[SimpleNamespace, dict[str, Any]]:
        return SimpleNamespace(status_code=501), {"Error": {"Code": "NotImplemented"}}

    s3_store.client.meta.events.register("before-call.s3.PutObject", refuse)
    with pytest.raises(
        StageError, match=r"models does not support conditional writes \(NotImplemented\); a store of rel"
    ):
        s3_store.exchange_pointer("mini", b"first", None)


def test_busy_store_is_asked_again(s3_store: S3StoreWriter) -> None:
    """A store that answers SlowDown is asked again; the probe of conditional writes is outside all scorers' keys."""
    slow = iter([True, False, True, False, True])

    def busy(request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        body = b"<Error><Code>SlowDown</Code></Error>"
        answer = HTTPResponse(BytesIO(body), preload_content=False)
        return AWSResponse(request.url, 503, {}, answer) if next(slow, None) else None

    s3_store.client.meta.events.register("before-send.s3.PutObject", busy)
    s3_store.put_new("mini/releases/one.json", b"one")
    assert keys_of(s3_store) == [f"models/{PROBE}", "models/mini/releases/one.json"]


@pytest.fixture
def atomic_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let moto do what S3 promises: nothing happens between the check of a write's condition and the write."""
    put, lock = S3Response.put_object, Lock()

    def put_one_by_one(response: S3Response) -> Any:  # noqa: ANN401 - moto's own type
        with lock:
            return put(response)

    monkeypatch.setattr(S3Response, "put_object", put_one_by_one)


@pytest.mark.usefixtures("atomic_conditions")
def test_one_of_simultaneous_updates_succeeds(address: str) -> None:
    """Only one of several writers that saw the same pointer updates it, and every reported update is in the history."""
    barrier, reported = Barrier(WRITERS), []

    def keep_updating(store: AnyStore, name: str) -> None:
        def change(_: object) -> dict[str, Any]:
            # Every writer has read the pointer, and none has written it yet.
            barrier.wait(timeout=20)
            return {"reason": name}

        for _ in range(ROUNDS):
            try:
                reported.append(update_pointer(store, "mini", "shadow", change))
            except StageError as error:
                assert "was updated by another writer" in str(error)  # noqa: PT017 - in a thread

    stores = [open_store_writer(address) for _ in range(WRITERS)]
    writers = [Thread(target=keep_updating, args=(store, f"writer {at}")) for at, store in enumerate(stores)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    history = read_history(open_store_writer(address), "mini")
    assert [pointer.serial for pointer in history] == list(range(1, ROUNDS + 1))
    assert history == sorted(reported, key=lambda pointer: pointer.serial)


def test_names_are_sorted_and_of_one_scorer(store: AnyStore) -> None:
    """Names come sorted, without those of a scorer whose name has the same beginning; an empty store has none."""
    assert store.names("mini/history") == []
    for name in ("000010.json", "000002.json", "000001.json"):
        store.put_new(f"mini/history/{name}", b"{}")
    store.put_new("minimal/history/000003.json", b"{}")
    assert store.names("mini/history") == ["000001.json", "000002.json", "000010.json"]
    assert store.names("mini") == ["history"]


@pytest.mark.parametrize("address", ["gs://bucket/models", "s3://", "https://example.com/store"])
def test_unknown_kind_of_store_is_refused(address: str) -> None:
    """An address that is neither a folder nor in S3 is refused with the forms that are allowed."""
    with pytest.raises(StageError, match="must be a folder, or s3://bucket or s3://bucket/prefix"):
        open_store_writer(address)


@pytest.mark.parametrize("end", ["", "/", "/models", "/models/"])
def test_prefix_may_be_written_in_several_ways(bucket: str, end: str) -> None:
    """Keys lie below the prefix that the address names, with or without its last slash."""
    open_store_writer(f"s3://{bucket}{end}").put_new("mini/pointer.json", b"{}")
    above = "" if end in ("", "/") else "models/"
    assert S3StoreWriter(bucket, above).read("mini/pointer.json", LIMIT) == b"{}"


@pytest.mark.usefixtures("s3_environment")
@pytest.mark.parametrize(
    ("bucket_name", "written", "listed"),
    [
        pytest.param("no-such-bucket", "NoSuchBucket", ".*NoSuchBucket", id="no bucket"),
        pytest.param("bucket", "EndpointConnectionError", "Could not connect", id="no server"),
    ],
)
def test_unreachable_store_is_an_error(
    monkeypatch: pytest.MonkeyPatch, bucket_name: str, written: str, listed: str
) -> None:
    """Writing to or listing a bucket that does not exist, or a server that does not answer, fails with the cause."""
    if written == "EndpointConnectionError":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setattr(store_writer, "ATTEMPTS", 1)
    store = S3StoreWriter(bucket_name, "models/")
    with pytest.raises(StoreError, match=rf"s3://{bucket_name}/models/\S+ cannot be written: {written}"):
        store.put_new("a/b", b"")
    with pytest.raises(StoreError, match=rf"s3://{bucket_name}/models/a cannot be listed: {listed}"):
        store.names("a")
