"""Where stages write, and how: whole or not at all."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import pandas as pd

BUILD = Path("build")
BUNDLES = BUILD / "bundles"
REPORTS = Path("reports")
# Metrics pass through vectorised maths, whose last bits differ between processors.
DIGITS = 6


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it: nobody sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text whole, as UTF-8."""
    write_whole(path, lambda target: target.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes whole."""
    write_whole(path, lambda target: target.write_bytes(content))


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
    write_text(path, json.dumps(rounded(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table whole, as CSV, its floats rounded to `DIGITS` significant digits."""
    write_text(path, table.to_csv(index=False, float_format=f"%.{DIGITS}g", lineterminator="\n"))


def rounded(content: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """The same structure, its floats rounded to `DIGITS` significant digits."""
    if isinstance(content, float):
        return float(f"{content:.{DIGITS}g}")
    if isinstance(content, dict):
        return {key: rounded(value) for key, value in content.items()}
    return [rounded(value) for value in content] if isinstance(content, list | tuple) else content


def write_durably(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Let `write` fill a file that appears whole, and on the disk, or not at all."""
    # Of several machines two processes may have one number.
    temporary = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
