"""Checkpoints of batch scoring: the finished chunks of a run, kept beside its output so that a later run can resume.

The folder `.<output>.scoring` holds one folder per run, named by a hash of its inputs, bundle, options and code.
Runs that differ have different folders, so their chunks are never mixed, even if a process outlives its run.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from training.errors import StageError
from training.run.files import write_bytes, write_whole
from training.run.progress import say

STATE = "state.json"


def work_folder(output: Path) -> Path:
    """Where the finished chunks of an output are kept."""
    return output.with_name(f".{output.name}.scoring")


@contextmanager
def run_folder(output: Path, state: Mapping[str, Any], bundle: Mapping[str, bytes]) -> Iterator[Path]:
    """The folder of a run, with the bundle's files in `bundle/`; this process holds its lock while the block lasts.

    What other runs left for the same output is discarded: computing it again takes minutes, but mixing it in would make
    the output wrong. Raises StageError if another process is writing the same output.
    """
    work = work_folder(output)
    content = json.dumps(state, indent=1, sort_keys=True) + "\n"
    run = work / hashlib.sha256(content.encode()).hexdigest()[:16]
    work.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(work / "lock").acquire(blocking=False)
    except Timeout as error:
        raise StageError(f"{output} is being written by another run; wait for it, or end it") from error
    with lock:
        for other in work.iterdir():
            if other.is_dir() and other != run:
                say(f"discarding the chunks of an unfinished run with another input, version, code or option: {other}")
                _remove(other)
        if not (run / STATE).exists():
            shutil.rmtree(run, ignore_errors=True)
            for name, file in bundle.items():
                write_bytes(run / "bundle" / name, file, durable=True)
            # Last: it marks the folder as complete.
            write_bytes(run / STATE, content.encode(), durable=True)
        yield run


def discard(output: Path) -> None:
    """Remove what was kept for an output."""
    for run in work_folder(output).iterdir():
        if run.is_dir():
            _remove(run)
    shutil.rmtree(work_folder(output))


def _remove(run: Path) -> None:
    # The mark of a complete folder goes first: if this process is killed, no run resumes from what is left.
    (run / STATE).unlink(missing_ok=True)
    shutil.rmtree(run)


def finish_chunk(run: Path, name: str, files: Mapping[str, Callable[[Path], Any]], counts: Mapping[str, Any]) -> None:
    """Write the files of a chunk, by suffix, and last its counts, which mark it as finished."""
    for suffix, write in files.items():
        write_whole(run / f"{name}{suffix}", write, durable=True)
    write_bytes(run / f"{name}.json", json.dumps(counts).encode(), durable=True)


def finished_chunks(run: Path) -> dict[str, dict[str, Any]]:
    """The counts of each finished chunk, by name."""
    return {path.stem: json.loads(path.read_bytes()) for path in sorted(run.glob("*-*.json"))}
