"""Writing to a store: a bundle appears whole or not at all, and a pointer is replaced atomically.

Nothing that was published is ever changed. What a killed process leaves behind is hidden from readers: in a folder, the
next writer removes it; in S3, a bundle without its manifest stays hidden until a writer completes it.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Any, Protocol

from filelock import FileLock

from handler.releases.store import (
    MAX_POINTER_BYTES,
    FolderStore,
    MissingError,
    Pointer,
    S3Store,
    StoreError,
    bundle_key,
    open_store,
    parse_pointer,
    pointer_key,
)
from handler.releases.swap import load_released
from handler.scoring.bundle import FILES, MANIFEST
from training.errors import StageError
from training.run.files import sync, write_bytes

# Where releases are kept, unless another store is named; not below build/, which `make clean` removes.
STORE = "store"
VERSION = re.compile(r"[0-9a-f]{12}")
UNFINISHED = ".unfinished-"
ANY_BYTES = 1 << 40
TRIES, PAUSE_SECONDS = 5, 0.2
# A busy store answers SlowDown, and a writer may wait; the function may not, and gives up sooner.
ATTEMPTS = 5
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_UNKNOWN = {"NotImplemented", "501"}
# The object on which writers try conditions. It stays, so no writer needs the right to delete.
PROBE = ".conditional-writes"
PROBE_TEXT = (
    b"Before their first write, writers check by this object that the store honours If-None-Match and If-Match.\n"
)
HONOUR = (
    "a store of releases must honour If-None-Match: * and If-Match on PUT, or two writers could overwrite each other; "
    "use S3 or a folder"
)
NO_TAG = '"00000000000000000000000000000000"'


class StoreWriter(Protocol):
    """A store that can be written to."""

    def read(self, key: str, limit: int) -> bytes:
        """See `handler.releases.store.Store`."""
        ...

    def put_new(self, key: str, content: bytes) -> None:
        """Write under a key that is new or holds the same content; raise StageError if it holds other content."""
        ...

    def put_bundle(self, scorer: str, version: str, contents: Mapping[str, bytes]) -> None:
        """Write a bundle's files; no reader ever sees only some of them."""
        ...

    def exchange_pointer(self, scorer: str, content: bytes, seen: bytes | None) -> None:
        """Replace the pointer that was read as `seen`; raise StageError if it has changed since."""
        ...

    def names(self, folder: str) -> list[str]:
        """The names directly below a folder, of complete bundles and files, sorted."""
        ...


class FolderStoreWriter(FolderStore):
    """A store in a folder that can be written to."""

    def put_new(self, key: str, content: bytes) -> None:
        """See `StoreWriter`."""
        path = self.root / key
        with self._locked(key.split("/", maxsplit=1)[0]):
            if path.exists():
                _must_equal(path.read_bytes(), content, str(path))
            else:
                _replace(path, content)

    def put_bundle(self, scorer: str, version: str, contents: Mapping[str, bytes]) -> None:
        """See `StoreWriter`; files are written and verified under another name, which is then renamed."""
        bundles = self.root / scorer / "bundles"
        with self._locked(scorer):
            bundles.mkdir(exist_ok=True)
            for left in bundles.glob(f"{UNFINISHED}*"):
                shutil.rmtree(left)
            if (bundles / version).exists():
                for name in (*FILES, MANIFEST):
                    path = bundles / version / name
                    _must_equal(path.read_bytes() if path.exists() else b"", contents[name], str(path))
                return
            unfinished = Path(tempfile.mkdtemp(dir=bundles, prefix=UNFINISHED))
            # mkdtemp's folder can be read by its owner only; a store is read by other users too.
            unfinished.chmod(0o755)
            for name, content in contents.items():
                write_bytes(unfinished / name, content, durable=True)
            written = {name: (unfinished / name).read_bytes() for name in contents}
            load_released(_Unpublished(written, unfinished.name), scorer, version)
            unfinished.rename(bundles / version)
            sync(bundles)

    def exchange_pointer(self, scorer: str, content: bytes, seen: bytes | None) -> None:
        """See `StoreWriter`."""
        path = self.root / pointer_key(scorer)
        with self._locked(scorer):
            if (path.read_bytes() if path.exists() else None) != seen:
                raise StageError(f"{path} was updated by another writer; check it, then try again")
            _replace(path, content)

    def names(self, folder: str) -> list[str]:
        """See `StoreWriter`."""
        path = self.root / folder
        return sorted(entry.name for entry in path.iterdir() if entry.name[0] != ".") if path.is_dir() else []

    def _locked(self, scorer: str) -> FileLock:
        """A lock for one writer at a time; it ends with its process."""
        folder = self.root / scorer
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / ".lock")


class S3StoreWriter(S3Store):
    """A store in S3 that can be written to. Objects appear whole, and conditional writes keep two writers apart."""

    def __init__(self, bucket: str, prefix: str) -> None:
        """Create the client; before its first write the store must show that it honours conditions."""
        super().__init__(bucket, prefix)
        import boto3  # noqa: PLC0415 - as in S3Store
        from botocore.config import Config  # noqa: PLC0415 - as in S3Store

        patient = Config(retries={"mode": "standard", "total_max_attempts": ATTEMPTS})
        self.client = boto3.client("s3", config=self.client.meta.config.merge(patient))
        self._is_proven = False

    def put_new(self, key: str, content: bytes) -> None:
        """See `StoreWriter`."""
        for _ in range(TRIES):
            if self._put(key, content, IfNoneMatch="*"):
                return
            # If there is nothing yet, another writer is still writing it.
            if (present := read_if_there(self, key)) is not None:
                _must_equal(present, content, f"{self}/{key}")
                return
            sleep(PAUSE_SECONDS)
        raise StageError(f"{self}/{key} is being written by another process; try again")

    def put_bundle(self, scorer: str, version: str, contents: Mapping[str, bytes]) -> None:
        """See `StoreWriter`; verified, then written and read back file by file, ending with the manifest."""
        load_released(_Unpublished(contents, str(self)), scorer, version)
        for name in sorted(contents, key=lambda name: name == MANIFEST):
            key = bundle_key(scorer, version, name)
            self.put_new(key, contents[name])
            _must_equal(self.read(key, ANY_BYTES), contents[name], f"{self}/{key}")

    def exchange_pointer(self, scorer: str, content: bytes, seen: bytes | None) -> None:
        """See `StoreWriter`."""
        key = pointer_key(scorer)
        condition: dict[str, str] = {"IfNoneMatch": "*"}
        if seen is not None:
            try:
                now, tag = self.read_tagged(key, ANY_BYTES)
            except MissingError as error:
                raise StageError(f"{self}/{key} was removed since it was read; check it, then try again") from error
            condition = {"IfMatch": tag if now == seen else ""}
        is_changed = condition.get("IfMatch") == "" or not self._put(key, content, **condition)
        # A client repeats a write whose answer was lost, and may then find its own content.
        if is_changed and read_if_there(self, key) != content:
            raise StageError(f"{self}/{key} was updated by another writer; check it, then try again")

    def names(self, folder: str) -> list[str]:
        """See `StoreWriter`."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as in S3Store

        start = f"{self.prefix}{folder}/"
        try:
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
            keys = {entry["Key"].removeprefix(start) for page in pages for entry in page.get("Contents", [])}
        except (BotoCoreError, ClientError) as error:
            raise StoreError(f"{self}/{folder} cannot be listed: {error}") from error
        below = {key.split("/", maxsplit=1)[0] for key in keys if "/" in key}
        whole = {name for name in below if f"{name}/{MANIFEST}" in keys or not VERSION.fullmatch(name)}
        return sorted(whole | {key for key in keys if "/" not in key})

    def _put(self, key: str, content: bytes, **condition: str) -> bool:
        """Write an object if the condition holds, and return whether it was written.

        Raises StageError if the store does not honour conditions, because two writers would overwrite each other.
        """
        if not self._is_proven:
            self._prove()
            self._is_proven = True
        return self._put_if(key, content, **condition)

    def _prove(self) -> None:
        """Raise StageError unless writes whose conditions do not hold are refused."""
        # The first one may write; the other two must not.
        self._put_if(PROBE, PROBE_TEXT, IfNoneMatch="*")
        if self._put_if(PROBE, PROBE_TEXT, IfNoneMatch="*") or self._put_if(PROBE, PROBE_TEXT, IfMatch=NO_TAG):
            with suppress(Exception):  # without the right to delete, it stays
                self.client.delete_object(Bucket=self.bucket, Key=self.prefix + PROBE)
            raise StageError(f"{self} ignores conditional writes; {HONOUR}")

    def _put_if(self, key: str, content: bytes, **condition: str) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as in S3Store

        try:
            self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=content, **condition)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            if code in _TAKEN:
                return False
            if code in _UNKNOWN:
                raise StageError(f"{self} does not support conditional writes ({code}); {HONOUR}") from error
            raise StoreError(f"{self}/{key} cannot be written: {code}") from error
        except BotoCoreError as error:
            raise StoreError(f"{self}/{key} cannot be written: {type(error).__name__}") from error
        return True


class _Unpublished:
    """A bundle's files before they are published, read like a store."""

    def __init__(self, contents: Mapping[str, bytes], where: str) -> None:
        self._contents, self._where = contents, where

    def __str__(self) -> str:
        return f"{self._where}, not yet published:"

    def read(self, key: str, _limit: int) -> bytes:
        return self._contents[key.rsplit("/", maxsplit=1)[-1]]


def open_store_writer(address: str) -> FolderStoreWriter | S3StoreWriter:
    """The store at an address, for writing; raises StageError for another kind of address."""
    try:
        store = open_store(address)
    except ValueError as error:
        raise StageError(str(error)) from error
    return S3StoreWriter(store.bucket, store.prefix) if isinstance(store, S3Store) else FolderStoreWriter(store.root)


def read_if_there(store: Any, key: str, limit: int = ANY_BYTES) -> bytes | None:  # noqa: ANN401 - any store
    """What a store holds under a key; None if it holds nothing."""
    try:
        content: bytes = store.read(key, limit)
    except MissingError:
        return None
    return content


def store_json(content: dict[str, Any]) -> bytes:
    """JSON as a store keeps it, indented for people."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def read_current_pointer(store: StoreWriter, scorer: str) -> tuple[Pointer | None, bytes | None]:
    """A scorer's pointer, and its bytes as they were read; both None if it has none yet."""
    key = pointer_key(scorer)
    seen = read_if_there(store, key, MAX_POINTER_BYTES)
    return (None if seen is None else parse_pointer(seen, scorer, f"{store}/{key}")), seen


def _must_equal(present: bytes, content: bytes, where: str) -> None:
    if present != content:
        raise StageError(f"{where} already exists with other content; published files are never changed")


def _replace(path: Path, content: bytes) -> None:
    """Write a file atomically and durably, after removing what a killed process left of it."""
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink()
    write_bytes(path, content, durable=True)
