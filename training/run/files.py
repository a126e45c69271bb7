"""Where and how stages write (a file or folder appears whole or not at all), and checksums."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd

BUILD = Path("build")
BUNDLES = BUILD / "bundles"
REPORTS = Path("reports")
# Folders of a scorer's build: the model that learned the later windows too, and the bundle of the one that did not.
REFIT, JUDGED = "refit", "judged"
# Metrics pass through vectorised maths, whose last bits differ between processors.
DIGITS = 6


def write_whole(path: Path, write: Callable[[Path], Any], *, durable: bool = False) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it: no reader sees a half-written file.

    With `durable` both the content and the name are on the disk when this returns, so that they survive a power cut.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the process id: on a shared file system, processes of two machines may have the same one.
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        write(temporary)
        if durable:
            sync(temporary)
        temporary.replace(path)
        if durable:
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's entries, from the system's cache to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text whole, as UTF-8."""
    write_whole(path, lambda target: target.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write bytes whole."""
    write_whole(path, lambda target: target.write_bytes(content), durable=durable)


def replace_folder(new: Path, path: Path) -> None:
    """Put a finished folder in the place of another, by renaming."""
    if path.exists():
        path.rename(new.with_name("replaced"))
        new.rename(path)
        shutil.rmtree(new.with_name("replaced"))
    else:
        new.rename(path)


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write JSON whole: keys in the given order, floats rounded to `DIGITS` significant digits."""
    write_text(path, json.dumps(rounded_floats(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table whole, as CSV, its floats rounded to `DIGITS` significant digits."""
    write_text(path, table.to_csv(index=False, float_format=f"%.{DIGITS}g", lineterminator="\n"))


def read_table(path: Path) -> pd.DataFrame:
    """A table that `write_table` wrote; only an empty cell is a missing value.

    By default pandas would also take a feature that is called NA, null or None for a missing value.
    """
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def read_text_table(path: Path) -> pd.DataFrame:
    """A table whose cells are all strings; an empty cell is an empty string."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def rounded_floats(content: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """The same structure, its floats rounded to `DIGITS` significant digits."""
    if isinstance(content, float):
        return float(f"{content:.{DIGITS}g}")
    if isinstance(content, dict):
        return {key: rounded_floats(value) for key, value in content.items()}
    return [rounded_floats(value) for value in content] if isinstance(content, list | tuple) else content


def sha256_of(path: Path) -> str:
    """The SHA-256 checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
