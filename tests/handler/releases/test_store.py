"""Reading a store in a folder and in S3, and refusing invalid pointers."""

import json
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from handler.releases.store import (
    MAX_POINTER_BYTES,
    FolderStore,
    MissingError,
    Pointer,
    PointerError,
    S3Store,
    StoreError,
    TooLargeError,
    open_store,
    parse_pointer,
    read_bundle,
    read_pointer,
)
from handler.scoring.bundle import FILES, MANIFEST, BundleError
from tests.handler.deployment import Deployment
from training.delivery.store_writer import open_store_writer

VERSION = "0123456789ab"
POINTER: dict[str, Any] = {
    "format": 1,
    "scorer": "refund",
    "serial": 7,
    "current": VERSION,
    "previous": None,
    "shadow": None,
    "action": "promote",
    "at": "2026-01-02T03:04:05Z",
    "by": "a user",
    "reason": None,
    "gate": {"rows": "recent.parquet"},
}


def pointer_bytes(**changes: object) -> bytes:
    """A pointer with changes, as its file holds it."""
    return json.dumps({**POINTER, **changes}).encode()


@pytest.fixture(params=["folder", "s3", "s3 with a prefix"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store."""
    if request.param == "folder":
        return str(tmp_path / "store")
    bucket = request.getfixturevalue("bucket")
    return f"s3://{bucket}" if request.param == "s3" else f"s3://{bucket}/models/fraud"


@pytest.fixture
def put(address: str) -> Callable[[str, bytes], None]:
    """A function that writes into that store."""
    return open_store_writer(address).put_new


def test_written_content_is_read(address: str, put: Callable[[str, bytes], None]) -> None:
    """It is read byte for byte, from its own key only; the error for a missing key has the store's address."""
    put("refund/one.json", b"\0\xff one")
    put("refund/two.json", b"two")
    store = open_store(address)
    assert str(store) == address
    assert store.read("refund/one.json", 100) == b"\0\xff one"
    with pytest.raises(MissingError, match=f"{address}/refund/three.json"):
        store.read("refund/three.json", 100)


def test_as_many_bytes_as_the_limit_are_read(address: str, put: Callable[[str, bytes], None]) -> None:
    """The limit may be 0; with one byte more, the error names the limit."""
    put("refund/large", bytes(2000))
    put("refund/empty", b"")
    store = open_store(address)
    assert store.read("refund/empty", 0) == b""
    assert store.read("refund/large", 2000) == bytes(2000)
    with pytest.raises(TooLargeError, match=f"{address}/refund/large has more than 1,999 bytes"):
        store.read("refund/large", 1999)


def test_a_pointer_is_read(address: str, put: Callable[[str, bytes], None]) -> None:
    """It is read from its own key; before the first release there is none."""
    with pytest.raises(MissingError):
        read_pointer(open_store(address), "refund")
    put("refund/pointer.json", pointer_bytes())
    assert read_pointer(open_store(address), "refund") == Pointer.model_validate(POINTER)


@pytest.mark.parametrize(
    ("content", "error", "problem"),
    [
        (b"garbage", PointerError, "is not a valid pointer"),
        (pointer_bytes(reason="r" * MAX_POINTER_BYTES), TooLargeError, "has more than 65,536 bytes"),
    ],
    ids=["garbage", "too large"],
)
def test_an_unusable_pointer_is_named(
    address: str, put: Callable[[str, bytes], None], content: bytes, error: type[StoreError], problem: str
) -> None:
    """The error has its address, for the person on call. It is read at every look, so its size is limited."""
    put("refund/pointer.json", content)
    with pytest.raises(error, match=f"{address}/refund/pointer.json {problem}"):
        read_pointer(open_store(address), "refund")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "Invalid JSON: EOF while parsing"),
        (b"{", "Invalid JSON: EOF while parsing an object"),
        (b"\xff\xfe", "Invalid JSON"),
        (pointer_bytes()[:-1], "Invalid JSON: EOF"),
        (b"[" * 100_000, "Invalid JSON: recursion limit"),
        (b"[]", "Input should be an object"),
        (b"null", "Input should be an object"),
        (b"{}", "format: Field required"),
        (pointer_bytes(format=2), "format: Input should be 1"),
        (pointer_bytes(format="1"), "format: Input should be 1"),
        (pointer_bytes(colour="red"), "colour: Extra inputs are not permitted"),
        (pointer_bytes(serial=0), "serial: Input should be greater than or equal to 1"),
        (pointer_bytes(serial=1.5), "serial: Input should be a valid integer"),
        (pointer_bytes(serial="7"), "serial: Input should be a valid integer"),
        (pointer_bytes(action="delete"), "action: Input should be 'promote', 'rollback', 'shadow' or 'lists'"),
        (pointer_bytes(by=None), "by: Input should be a valid string"),
        (pointer_bytes(gate=[]), "gate: Input should be an object"),
        (pointer_bytes(current=1), "current: Input should be a valid string"),
        (pointer_bytes(current=True), "current: Input should be a valid string"),
        (pointer_bytes(current=[VERSION]), "current: Input should be a valid string"),
    ],
)
def test_an_invalid_pointer_is_refused_with_field_and_problem(content: bytes, problem: str) -> None:
    """The message begins with the address of the pointer."""
    with pytest.raises(PointerError) as caught:
        parse_pointer(content, "refund", "store/refund/pointer.json")
    assert str(caught.value).startswith(f"store/refund/pointer.json is not a valid pointer: {problem}")


@pytest.mark.parametrize("key", ["current", "previous", "shadow"])
@pytest.mark.parametrize(
    "version",
    [
        "",
        "../../etc",
        "../../../etc/passwd",
        "/etc/passwd0",
        "0123456789a",
        "0123456789abc",
        "0123456789AB",
        "0123456789ab\n",
        " 0123456789ab",
        "0123456789a\0",
        "\u0660123456789ab",
    ],
)
def test_an_invalid_version_is_refused(key: str, version: str) -> None:
    """It becomes part of a path, so only 12 hexadecimal digits are allowed."""
    with pytest.raises(PointerError, match=f"is not a valid pointer: {key}: String should match pattern"):
        parse_pointer(pointer_bytes(**{key: version}), "refund", "it")


def test_another_scorers_pointer_is_refused() -> None:
    """Such as a file that was copied to the wrong place."""
    with pytest.raises(PointerError, match="it is the pointer of transaction; it must be the pointer of refund"):
        parse_pointer(pointer_bytes(scorer="transaction"), "refund", "it")


def test_a_relative_address_is_a_folder() -> None:
    """`data/s3` is one too."""
    store = open_store("data/s3")
    assert isinstance(store, FolderStore)
    assert store.root == Path("data/s3")


@pytest.mark.usefixtures("s3_environment")
@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("s3://models", ""),
        ("s3://models/", ""),
        ("s3://models//", ""),
        ("s3://models/a/b", "a/b/"),
        ("s3://models/a/b/", "a/b/"),
    ],
)
def test_an_s3_address_has_a_bucket_and_perhaps_a_prefix(address: str, prefix: str) -> None:
    """It may end with a slash."""
    store = open_store(address)
    assert isinstance(store, S3Store)
    assert (store.bucket, store.prefix) == ("models", prefix)


@pytest.mark.parametrize(
    "address", ["gs://models", "file:///srv/models", "s3://", "s3:///models", "S3://models", "://"]
)
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    """The error has the valid kinds."""
    with pytest.raises(ValueError, match="it must be a folder, or s3://bucket or s3://bucket/prefix") as caught:
        open_store(address)
    assert str(caught.value).startswith(f"STORE is {address!r}; ")


@pytest.mark.parametrize(
    ("key", "problem"), [("refund", "Is a directory"), ("refund/one.json/two.json", "Not a directory")]
)
def test_a_folder_in_place_of_a_file_cannot_be_read(tmp_path: Path, key: str, problem: str) -> None:
    """That is an error, not a missing key."""
    (tmp_path / "refund").mkdir()
    (tmp_path / "refund" / "one.json").write_text("one")
    with pytest.raises(StoreError, match=f"{key} cannot be read: {problem}") as caught:
        open_store(str(tmp_path)).read(key, 100)
    assert not isinstance(caught.value, MissingError | PointerError)


def test_s3_without_its_client_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server outside Lambda need not have it."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ValueError, match=r"^a store at s3://models needs boto3, which is not installed; install it "):
        open_store("s3://models/fraud")


@pytest.fixture
def bundle(deployment: Deployment) -> Path:
    """The folder of a released bundle."""
    return deployment.folder(deployment.release())


def read(bundle: Path, *signatures: str) -> dict[str, bytes]:
    """The files of a released bundle and some of its signatures, as its store reads them."""
    return read_bundle(FolderStore(bundle.parents[2]), "refund", bundle.name, signatures)


def test_a_bundle_is_read_with_its_files_alone(bundle: Path) -> None:
    """Other files beside them are not read."""
    (bundle / "notes.txt").write_text("mine")
    assert read(bundle) == {name: (bundle / name).read_bytes() for name in (MANIFEST, *FILES)}


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_a_bundle_without_a_file_is_incomplete(bundle: Path, name: str) -> None:
    """The file is named."""
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{bundle / name} is missing; the bundle is incomplete"):
        read(bundle)


def test_existing_signatures_are_read(bundle: Path) -> None:
    """Only requested ones are read. A missing one is left out, and the caller decides whether it matters."""
    for name in ("manifest.1.sig", "manifest.3.sig"):
        (bundle / name).write_text(name)
    contents = read(bundle, "manifest.1.sig", "manifest.2.sig")
    assert contents.keys() == {MANIFEST, *FILES, "manifest.1.sig"}
    assert contents["manifest.1.sig"] == b"manifest.1.sig"


def test_a_signature_that_cannot_be_read_is_not_missing(bundle: Path) -> None:
    """A failing store must not make a signed bundle look unsigned."""
    (bundle / "manifest.1.sig").mkdir()
    with pytest.raises(StoreError, match=r"manifest\.1\.sig cannot be read: Is a directory"):
        read(bundle, "manifest.1.sig")


def test_a_bundle_may_have_as_many_bytes_as_the_limit(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files together, signatures among them; the error names the file that exceeds the limit."""
    size = sum(path.stat().st_size for path in bundle.iterdir())
    (bundle / "manifest.1.sig").write_text("s")
    monkeypatch.setattr("handler.releases.store.MAX_BYTES", size)
    assert len(read(bundle)) == len(FILES) + 1
    with pytest.raises(BundleError, match=r"manifest\.1\.sig has more than 0 bytes"):
        read(bundle, "manifest.1.sig")
    monkeypatch.setattr("handler.releases.store.MAX_BYTES", size - 1)
    with pytest.raises(
        BundleError, match=f"{FILES[-1]} has more than .*; a bundle may have {size - 1:,} bytes in total"
    ):
        read(bundle)


def test_a_bundle_that_cannot_be_read_may_be_sound(bundle: Path) -> None:
    """It is the store's error, not the bundle's: a later attempt may succeed."""
    shutil.rmtree(bundle)
    bundle.write_text("no folder")
    with pytest.raises(StoreError, match=r"manifest.json cannot be read: Not a directory"):
        read(bundle)


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """The address of a server on loopback that answers every GET with `answer`."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def sending(
    content: bytes, *, status: int = 200, length: int | None = None
) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answers with some content, whose content-length may say more than is sent."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("content-type", "application/xml")
        request.send_header("content-length", str(length or len(content)))
        request.send_header("etag", '"1"')
        request.end_headers()
        request.wfile.write(content)

    return answer


def refusing(status: int, code: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answers as S3 does with an error."""
    error = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"
    return sending(error.encode(), status=status)


@pytest.fixture
def s3_at(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], S3Store]:  # noqa: ARG001 - the client reads the environment
    """A store in the S3 at an address, with short timeouts."""
    monkeypatch.setattr("handler.releases.store.CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr("handler.releases.store.READ_TIMEOUT", 0.2)

    def at(address: str) -> S3Store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        return S3Store("models", "fraud/")

    return at


@pytest.mark.parametrize(
    ("answer", "error", "problem"),
    [
        (refusing(403, "AccessDenied"), StoreError, "cannot be read: AccessDenied"),
        (refusing(404, "NoSuchBucket"), StoreError, "cannot be read: NoSuchBucket"),
        (refusing(400, "ExpiredToken"), StoreError, "cannot be read: ExpiredToken"),
        (refusing(403, "InvalidAccessKeyId"), StoreError, "cannot be read: InvalidAccessKeyId"),
        (refusing(404, "NoSuchKey"), MissingError, "cannot be read: NoSuchKey"),
        (sending(b"half", length=100), StoreError, "cannot be read"),
        (sending(bytes(1000), length=10**12), TooLargeError, "has more than 999 bytes"),
    ],
    ids=["access", "bucket", "token", "key id", "key", "truncated", "too large"],
)
def test_an_error_of_s3_is_named(
    s3_at: Callable[[str], S3Store],
    answer: Callable[[BaseHTTPRequestHandler], None],
    error: type[StoreError],
    problem: str,
) -> None:
    """The error has S3's code, and only NoSuchKey counts as missing.

    A truncated answer is an error of the store: taken as content, it would cause a sound bundle to be refused for good.
    No more than the limit is ever in memory: the server does not send the rest.
    """
    with answering(answer) as address, pytest.raises(StoreError) as caught:
        s3_at(address).read("refund/pointer.json", 999)
    assert str(caught.value).startswith(f"s3://models/fraud/refund/pointer.json {problem}")
    assert type(caught.value) is error


def test_an_unreachable_s3_cannot_be_read(s3_at: Callable[[str], S3Store]) -> None:
    """Nothing listens at the address."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        store = s3_at(f"http://127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(StoreError, match="cannot be read: EndpointConnectionError"):
            store.read("refund/pointer.json", 100)


def test_an_s3_that_does_not_answer_cannot_be_read(s3_at: Callable[[str], S3Store]) -> None:
    """It accepts the request and sends nothing."""
    done = Event()
    with answering(lambda _: done.wait(10)) as address:
        try:
            with pytest.raises(StoreError, match="cannot be read: ReadTimeoutError"):
                s3_at(address).read("refund/pointer.json", 100)
        finally:
            done.set()


def test_an_overloaded_s3_cannot_be_read(s3_at: Callable[[str], S3Store]) -> None:
    """The client makes two attempts."""
    paths: list[str] = []

    def busy(request: BaseHTTPRequestHandler) -> None:
        paths.append(request.path)
        refusing(503, "SlowDown")(request)

    with answering(busy) as address, pytest.raises(StoreError, match="cannot be read: SlowDown"):
        s3_at(address).read("refund/pointer.json", 100)
    assert paths == ["/models/fraud/refund/pointer.json"] * 2


def test_without_credentials_s3_cannot_be_read(
    s3_at: Callable[[str], S3Store], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A function without a role, for example, has none."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    # boto3 keeps a session, and with it the credentials of an earlier test.
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    with pytest.raises(StoreError, match="cannot be read: NoCredentialsError"):
        s3_at("http://127.0.0.1:9").read("refund/pointer.json", 100)
