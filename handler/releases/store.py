"""The store: a folder or an S3 prefix that holds every released bundle, and per scorer a pointer to the current one.

    <scorer>/pointer.json              which version is current, previous and shadow: the one file that ever changes
    <scorer>/history/<serial>.json     every former pointer
    <scorer>/releases/<version>.json   who released a version, when and from which commit
    <scorer>/bundles/<version>/        its bundle

The function only reads; `training.delivery.publish` writes.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, StringConstraints, ValidationError

from handler.scoring.bundle import FILES, MANIFEST, MAX_BYTES, BundleError
from handler.scoring.contract import Frozen

POINTER_FORMAT = 1
MAX_POINTER_BYTES = 65_536
# Seconds. Who waits for S3 is a thread, never a request for longer than STORE_BUDGET_MS.
CONNECT_TIMEOUT, READ_TIMEOUT = 1, 3

Version = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]


class StoreError(RuntimeError):
    """Raised when the store cannot be read, or a pointer is none; a later look may succeed."""


class MissingError(StoreError):
    """Raised when the store holds nothing under a key."""


class PointerError(StoreError):
    """Raised when what lies in a pointer's place is none."""


class TooLargeError(StoreError):
    """Raised when what the store holds under a key is larger than its reader allows."""


class Store(Protocol):
    """Anything that gives the bytes that it holds under a key."""

    def read(self, key: str, limit: int) -> bytes:
        """The content; raises MissingError, TooLargeError (it has more bytes than the limit) or StoreError."""
        ...


class Pointer(Frozen):
    """Which versions of a scorer serve, and why: the last move of the pointer."""

    format: Literal[1]
    scorer: str
    serial: Annotated[int, Field(ge=1)]
    """Counts the moves, so that two who move at once cannot both succeed."""
    current: Version | None
    previous: Version | None
    """What served before the current one."""
    shadow: Version | None
    action: Literal["promote", "rollback", "shadow"]
    at: str
    by: str
    reason: str | None
    gate: dict[str, Any] | None
    """What the gate measured, where it was asked."""

    @property
    def position(self) -> tuple[int, str | None, str | None]:
        """All of it that decides what serves."""
        return self.serial, self.current, self.shadow


class FolderStore:
    """A store in a folder."""

    def __init__(self, root: Path) -> None:
        """Read from this folder."""
        self.root = root

    def __str__(self) -> str:
        """Its address."""
        return str(self.root)

    def read(self, key: str, limit: int) -> bytes:
        """As `Store` has it."""
        path = self.root / key
        try:
            with path.open("rb") as file:
                _must_fit(os.fstat(file.fileno()).st_size, limit, str(path))
                return file.read()
        except FileNotFoundError as error:
            raise MissingError(f"{path} is missing") from error
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from error


class S3Store:
    """A store below a prefix of an S3 bucket."""

    def __init__(self, bucket: str, prefix: str) -> None:
        """Make the client; its credentials and region are the environment's."""
        # Only who keeps bundles in S3 pays for this import. Lambda's runtime brings boto3 along.
        try:
            import boto3  # noqa: PLC0415 - see above
            from botocore.config import Config  # noqa: PLC0415 - as above
        except ModuleNotFoundError as error:
            raise ValueError(f"a store at s3://{bucket} needs boto3, which Lambda has; install it here") from error

        self.bucket, self.prefix = bucket, prefix
        self.client = boto3.client(
            "s3",
            config=Config(
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=READ_TIMEOUT,
                retries={"mode": "standard", "total_max_attempts": 2},
            ),
        )

    def __str__(self) -> str:
        """Its address."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def read(self, key: str, limit: int) -> bytes:
        """As `Store` has it."""
        return self.read_tagged(key, limit)[0]

    def read_tagged(self, key: str, limit: int) -> tuple[bytes, str]:
        """The content as `read` gives it, and the tag by which a later write can tell whether it is still the same."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as in __init__
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - as above; botocore passes some of them on

        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)
            with answer["Body"] as body:
                _must_fit(answer["ContentLength"], limit, f"{self}/{key}")
                content: bytes = body.read()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            kind = MissingError if code == "NoSuchKey" else StoreError
            raise kind(f"{self}/{key} cannot be read: {code}") from error
        except (BotoCoreError, HTTPError, OSError) as error:
            raise StoreError(f"{self}/{key} cannot be read: {type(error).__name__}") from error
        if len(content) != answer["ContentLength"]:
            # A beginning taken for the whole would refuse a sound bundle for good.
            raise StoreError(f"{self}/{key} cannot be read: the answer broke off")
        return content, answer["ETag"]


def open_store(address: str) -> FolderStore | S3Store:
    """The store at an address: a folder, or s3://bucket/prefix.

    Raises ValueError for an address of another kind.
    """
    scheme, found, rest = address.partition("://")
    if not found:
        return FolderStore(Path(address))
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise ValueError(f"STORE is {address!r}; it must be a folder, or s3://bucket or s3://bucket/prefix")
    return S3Store(bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else "")


def pointer_key(scorer: str) -> str:
    """Where a scorer's pointer lies."""
    return f"{scorer}/pointer.json"


def bundle_key(scorer: str, version: str, name: str) -> str:
    """Where one file of a bundle lies."""
    return f"{scorer}/bundles/{version}/{name}"


def parse_pointer(content: bytes, scorer: str, where: str) -> Pointer:
    """The pointer that some bytes hold; raises PointerError where they hold none, or another scorer's."""
    try:
        pointer = Pointer.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, problem["loc"])) or "it"
        raise PointerError(f"{where} is no pointer: {place}: {problem['msg']}") from error
    if pointer.scorer != scorer:
        raise PointerError(f"{where} is the pointer of {pointer.scorer}; here it must be of {scorer}")
    return pointer


def read_pointer(store: Store, scorer: str) -> Pointer:
    """A scorer's pointer; raises MissingError where there is none, StoreError where it cannot be read or is garbage."""
    key = pointer_key(scorer)
    return parse_pointer(store.read(key, MAX_POINTER_BYTES), scorer, f"{store}/{key}")


def read_bundle(store: Store, scorer: str, version: str, signatures: Sequence[str] = ()) -> dict[str, bytes]:
    """The files of a released bundle by name, and those of the signatures that are there; only their size is checked.

    Raises BundleError where one is missing or they are larger than MAX_BYTES, StoreError where they cannot be read.
    """
    contents: dict[str, bytes] = {}
    left = MAX_BYTES
    for name in (MANIFEST, *FILES, *signatures):
        try:
            contents[name] = store.read(bundle_key(scorer, version, name), left)
        except MissingError as error:
            if name in signatures:
                continue
            raise BundleError(f"{error}; the bundle is not whole") from error
        except TooLargeError as error:
            raise BundleError(f"{error}; a bundle may have {MAX_BYTES:,} in all") from error
        left -= len(contents[name])
    return contents


def _must_fit(size: int, limit: int, where: str) -> None:
    if size > limit:
        raise TooLargeError(f"{where} has more than {limit:,} bytes")
