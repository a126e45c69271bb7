"""Stages take one scorer on the command line, and report errors that a user can repair in one line."""

import errno
import io
from collections.abc import Callable

import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError

from training.errors import StageError
from training.run.command import one_line_errors, run
from training.run.progress import say


def stopping(error: Exception) -> Callable[[str], None]:
    """A stage that raises this error."""

    def main(_name: str) -> None:
        raise error

    return main


@pytest.fixture
def _called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the command line of a stage for the mini scorer."""
    monkeypatch.setattr("sys.argv", ["/somewhere/training/prepare.py", "mini"])


@pytest.mark.usefixtures("_called")
@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (StageError("data/rows.csv holds no rows"), "prepare mini: data/rows.csv holds no rows"),
        (OSError(errno.ENOSPC, "full"), "prepare mini: there is no space left on the disk; make room: [Errno 28] full"),
        (
            OSError(errno.EDQUOT, "over"),
            "prepare mini: there is no space left on the disk; make room: [Errno 122] over",
        ),
        (
            TerminatedWorkerError("gone"),
            "prepare mini: a worker process was ended, perhaps because memory ran out; lower compute.chunk_rows: gone",
        ),
    ],
    ids=["stage error", "full disk", "full quota", "killed worker"],
)
def test_an_error_that_a_user_can_repair_is_one_line(error: Exception, sentence: str) -> None:
    """The line has the stage, the scorer and a remedy, and the error's cause is kept."""
    with pytest.raises(SystemExit) as caught:
        run(stopping(error))
    assert caught.value.code == sentence
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.ENOSPC, "full"),
            "score: there is no space left in out; make room, then resume: [Errno 28] full",
        ),
        (OSError(errno.EACCES, "denied"), "score: [Errno 13] denied"),
        (
            TerminatedWorkerError("gone"),
            "score: a worker process was ended, perhaps because memory ran out; lower --chunk-rows, then resume: gone",
        ),
        (KeyError("mini"), "score: 'mini'"),
    ],
    ids=["full disk", "another OSError", "killed worker", "another error"],
)
def test_a_command_names_its_own_place_option_and_hint(error: Exception, sentence: str) -> None:
    """A command that is not a stage says where space is missing, which option to lower, and how to continue."""
    with (
        pytest.raises(SystemExit) as caught,
        one_line_errors("score", OSError, KeyError, place="in out", chunk_rows="--chunk-rows", hint=", then resume"),
    ):
        raise error
    assert caught.value.code == sentence


@pytest.mark.usefixtures("_called")
@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), ValueError("a mistake of ours")])
def test_other_errors_have_a_traceback(error: Exception) -> None:
    """An unexpected error keeps its traceback."""
    with pytest.raises(type(error)) as caught:
        run(stopping(error))
    assert caught.value is error


def test_terminal_without_a_character_gets_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text with a euro sign does not break a command whose output is ASCII."""
    screen = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(screen, encoding="ascii"))
    with one_line_errors("try"):
        say("12,50 \u20ac")
    assert screen.getvalue() == b"12,50 \\u20ac\n"


@pytest.mark.usefixtures("_called")
def test_a_stage_is_called_with_its_scorer() -> None:
    """The stage gets the scorer's name from the command line."""
    scorers: list[str] = []
    run(scorers.append)
    assert scorers == ["mini"]


@pytest.mark.parametrize("arguments", [[], ["mini", "more"]])
def test_a_stage_needs_one_scorer(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Without exactly one scorer, a stage prints its usage."""
    monkeypatch.setattr("sys.argv", ["training/prepare.py", *arguments])
    with pytest.raises(SystemExit, match=r"^usage: python -m training.prepare SCORER$"):
        run(lambda _: None)
