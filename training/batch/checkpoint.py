"""Resume: what a run has finished so far, kept beside its output, so that after a crash the next one goes on.

The folder `.<output>.scoring` holds one folder per run, named by what the run is: its inputs, bundle, options and code.
Another run has another name, so that chunks of two runs never come together, not even where a process outlives its run.
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from training.errors import StageError
from training.run.files import write_durably
from training.run.progress import say

STATE = "state.json"


class ResumeError(StageError):
    """Raised when another run is writing the same output."""


def work_folder(output: Path) -> Path:
    """Where the finished chunks of an output are kept."""
    return output.with_name(f".{output.name}.scoring")


@contextmanager
def run_folder(output: Path, state: Mapping[str, Any], bundle: Mapping[str, bytes]) -> Iterator[Path]:
    """The folder of a run, with the bundle's files in `bundle/`; it is this process's alone while the block lasts.

    What is left of other runs to the same output is discarded: it is computed again in minutes, and mixed it would be
    wrong for ever. Raises ResumeError where another process is writing the same output.
    """
    work = work_folder(output)
    content = json.dumps(state, indent=1, sort_keys=True) + "\n"
    run = work / hashlib.sha256(content.encode()).hexdigest()[:16]
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ResumeError(f"{output} is being written by another run; wait for it, or end it") from error
        for other in work.iterdir():
            if other.is_dir() and other != run:
                say(f"discarding what an unfinished run left with another input, version, code or option: {other}")
                _remove(other)
        if not (run / STATE).exists():
            shutil.rmtree(run, ignore_errors=True)
            (run / "bundle").mkdir(parents=True)
            for name, file in bundle.items():
                write_durably(run / "bundle" / name, partial(_write, file))
            # Last: with it the folder is whole.
            write_durably(run / STATE, partial(_write, content.encode()))
        yield run


def discard(output: Path) -> None:
    """Remove what was kept for an output."""
    for run in work_folder(output).iterdir():
        if run.is_dir():
            _remove(run)
    shutil.rmtree(work_folder(output))


def _remove(run: Path) -> None:
    # First what says that the folder is whole: killed on the way, this leaves what nobody goes on with.
    (run / STATE).unlink(missing_ok=True)
    shutil.rmtree(run)


def _write(content: bytes, file: IO[bytes]) -> None:
    file.write(content)


def finish_chunk(
    run: Path, name: str, files: Mapping[str, Callable[[IO[bytes]], Any]], told: Mapping[str, Any]
) -> None:
    """Write the files of a chunk, by suffix, and what there is to tell of it last: with that it is finished."""
    for suffix, write in files.items():
        write_durably(run / f"{name}{suffix}", write)
    write_durably(run / f"{name}.json", partial(_write, json.dumps(told).encode()))


def finished_chunks(run: Path) -> dict[str, dict[str, Any]]:
    """What was told of each finished chunk, by name."""
    return {path.stem: json.loads(path.read_bytes()) for path in sorted(run.glob("*-*.json"))}
