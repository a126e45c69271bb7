"""The store: a folder or an S3 prefix with every released bundle and, per scorer, a pointer to the current version.

    <scorer>/pointer.json              the current, previous and shadow version: the only file that changes
    <scorer>/history/<serial>.json     every earlier pointer
    <scorer>/releases/<version>.json   who released a version, when, from which commit; beside it the OpenAPI
                                       document (.openapi.json) and the SBOM (.cdx.json)
    <scorer>/bundles/<version>/        the bundle of a version
    <scorer>/lists/<version>.json      lists of values that are approved, reviewed or blocked (`handler.releases.lists`)

The function only reads; `training.delivery.publish` writes.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, StringConstraints, ValidationError

from handler.scoring.bundle import FILES, MANIFEST, MAX_BYTES, BundleError
from handler.scoring.fields import Frozen

POINTER_FORMAT = 1
MAX_POINTER_BYTES = 65_536
# Seconds. A thread waits for S3; a request waits at most STORE_BUDGET_MS for the thread.
CONNECT_TIMEOUT, READ_TIMEOUT = 1, 3

Version = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]


class StoreError(RuntimeError):
    """Raised when the store cannot be read or a pointer is invalid; a later attempt may succeed."""


class MissingError(StoreError):
    """Raised when the store has no such key."""


class PointerError(StoreError):
    """Raised when a pointer's file is not a valid pointer."""


class TooLargeError(StoreError):
    """Raised when the content of a key exceeds the reader's limit."""


class Store(Protocol):
    """Anything that returns the bytes of a key."""

    def read(self, key: str, limit: int) -> bytes:
        """The content; raises MissingError, TooLargeError (more bytes than the limit) or StoreError."""
        ...


class Pointer(Frozen):
    """Which versions of a scorer serve, and the update that set them."""

    format: Literal[1]
    scorer: str
    serial: Annotated[int, Field(ge=1)]
    """Counts the updates, so that of two concurrent ones only one succeeds."""
    current: Version | None
    previous: Version | None
    """The version that served before the current one."""
    shadow: Version | None
    action: Literal["promote", "rollback", "shadow", "lists"]
    at: str
    by: str
    reason: str | None
    gate: dict[str, Any] | None
    """The promotion gate's report, if it ran."""
    # Left out of pointers without lists, so that functions that predate lists can read these.
    lists: Annotated[Version | None, Field(exclude_if=lambda lists: lists is None)] = None
    """The version of the lists, which stays when the model's version changes."""

    @property
    def position(self) -> tuple[int, str | None, str | None, str | None]:
        """The part of the pointer that decides which versions serve."""
        return self.serial, self.current, self.shadow, self.lists


class FolderStore:
    """A store in a folder."""

    def __init__(self, root: Path) -> None:
        """Read from this folder."""
        self.root = root

    def __str__(self) -> str:
        """The store's address."""
        return str(self.root)

    def read(self, key: str, limit: int) -> bytes:
        """See `Store.read`."""
        path = self.root / key
        try:
            with path.open("rb") as file:
                _check_size(os.fstat(file.fileno()).st_size, limit, str(path))
                return file.read()
        except FileNotFoundError as error:
            raise MissingError(f"{path} is missing") from error
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from error


class S3Store:
    """A store below a prefix of an S3 bucket."""

    def __init__(self, bucket: str, prefix: str) -> None:
        """Create the client, with the environment's credentials and region."""
        # Imported only for a store in S3. Lambda's runtime includes boto3.
        try:
            import boto3  # noqa: PLC0415 - see above
            from botocore.config import Config  # noqa: PLC0415 - as above
        except ModuleNotFoundError as error:
            raise ValueError(
                f"a store at s3://{bucket} needs boto3, which is not installed; install it (Lambda already has it)"
            ) from error

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
        """The store's address."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def read(self, key: str, limit: int) -> bytes:
        """See `Store.read`."""
        return self.read_tagged(key, limit)[0]

    def read_tagged(self, key: str, limit: int) -> tuple[bytes, str]:
        """The content as from `read`, and the ETag with which a later write can require that it is unchanged."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as in __init__
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - as above; botocore lets some of them through

        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)
            with answer["Body"] as body:
                _check_size(answer["ContentLength"], limit, f"{self}/{key}")
                content: bytes = body.read()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            error_class = MissingError if code == "NoSuchKey" else StoreError
            raise error_class(f"{self}/{key} cannot be read: {code}") from error
        except (BotoCoreError, HTTPError, OSError) as error:
            raise StoreError(f"{self}/{key} cannot be read: {type(error).__name__}") from error
        if len(content) != answer["ContentLength"]:
            # If a truncated answer were taken for the whole, a sound bundle would be refused for good.
            raise StoreError(f"{self}/{key} cannot be read: the answer was cut off")
        return content, answer["ETag"]


def open_store(address: str) -> FolderStore | S3Store:
    """The store at an address: a folder, or s3://bucket/prefix.

    Raises ValueError for any other kind of address.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return FolderStore(Path(address))
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise ValueError(f"STORE is {address!r}; it must be a folder, or s3://bucket or s3://bucket/prefix")
    return S3Store(bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else "")


def pointer_key(scorer: str) -> str:
    """The key of a scorer's pointer."""
    return f"{scorer}/pointer.json"


def bundle_key(scorer: str, version: str, name: str) -> str:
    """The key of one file of a bundle."""
    return f"{scorer}/bundles/{version}/{name}"


def parse_pointer(content: bytes, scorer: str, where: str) -> Pointer:
    """The pointer in a file's content; raises PointerError if it is invalid, or another scorer's."""
    try:
        pointer = Pointer.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, problem["loc"]))
        text = f"{field}: {problem['msg']}" if field else problem["msg"]
        raise PointerError(f"{where} is not a valid pointer: {text}") from error
    if pointer.scorer != scorer:
        raise PointerError(f"{where} is the pointer of {pointer.scorer}; it must be the pointer of {scorer}")
    return pointer


def read_pointer(store: Store, scorer: str) -> Pointer:
    """A scorer's pointer; raises MissingError if there is none, StoreError if it cannot be read or is invalid."""
    key = pointer_key(scorer)
    return parse_pointer(store.read(key, MAX_POINTER_BYTES), scorer, f"{store}/{key}")


def read_bundle(store: Store, scorer: str, version: str, signatures: Sequence[str] = ()) -> dict[str, bytes]:
    """The files of a released bundle by name, with the signature files that exist; only sizes are checked.

    Raises BundleError if a file is missing or all together exceed MAX_BYTES, StoreError if one cannot be read.
    """
    contents: dict[str, bytes] = {}
    bytes_left = MAX_BYTES
    for name in (MANIFEST, *FILES, *signatures):
        try:
            contents[name] = store.read(bundle_key(scorer, version, name), bytes_left)
        except MissingError as error:
            if name in signatures:
                continue
            raise BundleError(f"{error}; the bundle is incomplete") from error
        except TooLargeError as error:
            raise BundleError(f"{error}; a bundle may have {MAX_BYTES:,} bytes in total") from error
        bytes_left -= len(contents[name])
    return contents


def _check_size(size: int, limit: int, where: str) -> None:
    if size > limit:
        raise TooLargeError(f"{where} has more than {limit:,} bytes")
