"""The prediction record: what is written, and that nothing of it can fail a request."""

import json
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import time
from typing import Any

import pytest
from pydantic import BaseModel

from handler.record import Recorder
from handler.scorer import Scored, Scorer
from handler.shadow import Shadow

REQUESTS: list[dict[str, Any]] = [
    {"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2, "refund_id": "r1"},
    {"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2, "refunds": 20, "item": "Pad Thai with tofu"},
    {"yearsActive": 0.1, "amount": 900.0, "ipAccounts": 5, "refund_id": "é\n"},
]


def read(scorer: Scorer, requests: Sequence[dict[str, Any]] = REQUESTS) -> list[BaseModel]:
    """Requests as the contract reads them."""
    return [scorer.request_model.model_validate(request) for request in requests]


def lines(path: Path) -> list[dict[str, Any]]:
    """What a file's lines hold."""
    content = path.read_bytes()
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the record goes: into a folder that is not there yet."""
    return tmp_path / "log" / "predictions.jsonl"


def record(
    target: Path,
    scorer: Scorer,
    shadow: Shadow | None = None,
    shadowed: Sequence[Scored | str] = (),
    requests: Sequence[dict[str, Any]] = REQUESTS,
) -> list[dict[str, Any]]:
    """The lines of a file, after one more batch was recorded in it."""
    asked = read(scorer, requests)
    Recorder(str(target)).record(scorer, asked, scorer.scores(asked), shadow, shadowed)
    return lines(target)


def test_each_prediction_has_its_line_in_order(path: Path, refund: Scorer) -> None:
    """With the caller's own id, where there is one."""
    assert [line["id"] for line in record(path, refund)] == ["r1", None, "é\n"]


def test_a_line_says_what_was_predicted_by_which_version(path: Path, refund: Scorer) -> None:
    """To the last digit."""
    for line, scored in zip(record(path, refund), refund.scores(read(refund)), strict=True):
        assert (line["probability"], line["flagged"]) == (scored.probability, scored.is_flagged)
        assert (line["record"], line["scorer"], line["version"]) == (1, "refund", refund.version)


def test_a_line_has_the_features_as_a_person_reads_them(path: Path, refund: Scorer) -> None:
    """A category by its name, and null for what is missing: JSON knows no NaN."""
    first, second, _ = record(path, refund)
    assert first["features"] == {
        "years_active": 1.5,
        "amount": 45.0,
        "ip_accounts": 2.0,
        "refunds": None,
        "item_category": None,
        "refund_rate": None,
    }
    assert second["features"]["item_category"] == "Food, Perishable"
    assert second["features"]["refund_rate"] == pytest.approx(20 / 1.5)


def test_a_line_says_when(path: Path, refund: Scorer) -> None:
    """In seconds since 1970."""
    before = time()
    (line,) = record(path, refund, requests=REQUESTS[:1])
    assert before <= line["time"] <= time()


def test_without_a_shadow_a_line_says_nothing_of_one(path: Path, refund: Scorer) -> None:
    """Nor where it is dropped, and makes nothing of a request."""
    record(path, refund)
    assert all("shadow" not in line for line in record(path, refund, Shadow(refund), ()))


def test_the_shadows_numbers_stand_beside(path: Path, refund: Scorer) -> None:
    """Each beside its own request's."""
    shadowed = [Scored([], 0.0, 0.25, is_flagged=True), Scored([], 0.0, 0.5, is_flagged=False)]
    found = record(path, refund, Shadow(refund), shadowed, REQUESTS[:2])
    assert [line["shadow"] for line in found] == [
        {"version": refund.version, "probability": 0.25, "flagged": True},
        {"version": refund.version, "probability": 0.5, "flagged": False},
    ]


def test_a_shadows_failure_stands_beside_each_prediction(path: Path, refund: Scorer) -> None:
    """It failed the whole batch."""
    failed = {"version": refund.version, "error": "KeyError"}
    assert [line["shadow"] for line in record(path, refund, Shadow(refund), ("KeyError",))] == [failed] * 3


def test_what_was_there_stays(path: Path, refund: Scorer) -> None:
    """A process that starts anew goes on where the last one ended."""
    first = record(path, refund)
    second = record(path, refund)
    assert (len(first), second[:3]) == (3, first)


def test_the_file_is_its_owners_alone(path: Path, refund: Scorer) -> None:
    """It holds what callers sent."""
    record(path, refund)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_record_may_go_to_stdout(refund: Scorer, capfd: pytest.CaptureFixture[str]) -> None:
    """Where Lambda takes it for the log."""
    asked = read(refund)
    Recorder("stdout").record(refund, asked, refund.scores(asked), None, ())
    written = capfd.readouterr().out.splitlines()
    assert [json.loads(line)["scorer"] for line in written] == ["refund"] * 3


def test_lines_of_several_writers_are_kept_apart(path: Path, refund: Scorer) -> None:
    """Each opens the file for itself, as the processes of a server do."""
    asked = read(refund, REQUESTS * 100)
    scored = refund.scores(asked)
    recorders = [Recorder(str(path)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            list(pool.map(lambda one: one.record(refund, asked, scored, None, ()), recorders))
    assert len(lines(path)) == 4 * 5 * 300


def test_a_full_disk_fails_nobody(refund: Scorer, caplog: pytest.LogCaptureFixture) -> None:
    """It is told of once."""
    asked = read(refund)
    recorder = Recorder("/dev/full")
    for _ in range(3):
        recorder.record(refund, asked, refund.scores(asked), None, ())
    assert caplog.messages == ["predictions cannot be recorded: No space left on device"]


def test_a_place_that_cannot_be_written_to_stops_the_start(tmp_path: Path) -> None:
    """Rather than be noticed after a year without a record."""
    with pytest.raises(IsADirectoryError):
        Recorder(str(tmp_path))
