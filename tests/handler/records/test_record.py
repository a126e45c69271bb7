"""The prediction record: its lines and files, and that no failure to write fails a request."""

import json
import os
import random
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Any

import pytest
from pydantic import BaseModel

from handler.records.record import FORMAT, HASH_DIGITS, Recorder, keyed_hash
from handler.releases.shadow import Shadow
from handler.scoring.contract import Contract
from handler.scoring.scorer import Answered, Scored, Scorer
from training.monitoring.binning import Binning
from training.monitoring.log import read_log

ROOT = Path(__file__).parents[3]
DAY_SECONDS = 86_400
MIDNIGHT = 20_000 * DAY_SECONDS
"""Of 2024-10-04, in UTC."""
KEY = b"a deployment's own"
REQUESTS: list[dict[str, Any]] = [
    {"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2, "refund_id": "r1"},
    {"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2, "refunds": 20, "item": "Pad Thai with tofu"},
    {"yearsActive": 0.1, "amount": 900.0, "ipAccounts": 5, "refund_id": "é\n"},
]


def read(scorer: Scorer, requests: Sequence[dict[str, Any]] = REQUESTS) -> list[BaseModel]:
    """Requests as the contract reads them."""
    return [scorer.request_model.model_validate(request) for request in requests]


def answered(scorer: Scorer, requests: Sequence[dict[str, Any]] = REQUESTS, *, explain: bool = False) -> Answered:
    """Requests and their answers, as the endpoint hands them over."""
    asked = read(scorer, requests)
    scored = scorer.scores(asked)
    return Answered(asked, scored, scorer.answers(asked, scored, explain=explain))


def files(folder: Path) -> list[Path]:
    """The files of a record, in the order in which they were begun."""
    return sorted(folder.iterdir()) if folder.exists() else []


def lines(folder: Path) -> list[dict[str, Any]]:
    """What the lines of a record's files hold."""
    found = []
    for path in files(folder):
        content = path.read_bytes()
        assert content.endswith(b"\n")
        found += [json.loads(line) for line in content.splitlines() if line]
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the record goes: a folder that is not there yet, in one that is not there either."""
    return tmp_path / "log" / "predictions"


def record(
    folder: Path,
    scorer: Scorer,
    shadow: Shadow | None = None,
    shadowed: Sequence[Scored | str] = (),
    requests: Sequence[dict[str, Any]] = REQUESTS,
) -> list[dict[str, Any]]:
    """The lines of a folder, after one more batch was recorded in it."""
    Recorder(str(folder)).record(scorer, answered(scorer, requests), 0.0123456, shadow and (shadow.version, shadowed))
    return lines(folder)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The record's clock, which stands until it is moved; at noon."""
    now = [MIDNIGHT + DAY_SECONDS / 2.0]
    monkeypatch.setattr("handler.records.record.time", lambda: now[0])
    return now


def test_each_prediction_has_its_line(folder: Path, refund: Scorer) -> None:
    """In order: the request's id if it has one, the probability to the last digit, version, time and latency."""
    before = time()
    rows = record(folder, refund)
    assert [row["id"] for row in rows] == ["r1", None, "é\n"]
    keys = ["record", "time", "scorer", "version", "id", "features", "probability", "flagged"]
    for row, scored in zip(rows, refund.scores(read(refund)), strict=True):
        assert list(row) == [*keys, "reasons", "warnings", "milliseconds"]
        assert (row["probability"], row["flagged"]) == (scored.probability, scored.is_flagged)
        assert (row["record"], row["scorer"], row["version"]) == (1, "refund", refund.version)
        assert before <= row["time"] <= time()
        assert row["milliseconds"] == 12.346


def test_a_line_has_readable_features(folder: Path, refund: Scorer) -> None:
    """A category by its label, and null for a missing value: JSON has no NaN."""
    first, second, _ = record(folder, refund)
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


@pytest.mark.parametrize("explain", [False, True])
def test_a_line_names_what_reasons_and_warnings_are_about(folder: Path, refund: Scorer, *, explain: bool) -> None:
    """The fields, in their order, without values or sentences; none where the answer had none."""
    made = answered(refund, [*REQUESTS, {**REQUESTS[0], "amount": 1e9}], explain=explain)
    Recorder(str(folder)).record(refund, made, 0.0)
    for line, answer in zip(lines(folder), made.answers, strict=True):
        assert line["reasons"] == [reason["field"] for reason in answer.get("reasons", [])]
        assert line["warnings"] == [warning["field"] for warning in answer.get("warnings", [])]
    assert lines(folder)[0]["warnings"] == []
    assert "amount" in lines(folder)[3]["warnings"]


def test_without_a_shadow_a_line_has_no_shadow(folder: Path, refund: Scorer) -> None:
    """Nor with a disabled shadow, which scores nothing."""
    record(folder, refund)
    assert all("shadow" not in line for line in record(folder, refund, Shadow(refund), ()))


def test_the_shadows_numbers_stand_beside(folder: Path, refund: Scorer) -> None:
    """Each beside its own request's."""
    shadowed = [Scored([], 0.0, 0.25, is_flagged=True), Scored([], 0.0, 0.5, is_flagged=False)]
    found = record(folder, refund, Shadow(refund), shadowed, REQUESTS[:2])
    assert [line["shadow"] for line in found] == [
        {"version": refund.version, "probability": 0.25, "flagged": True},
        {"version": refund.version, "probability": 0.5, "flagged": False},
    ]


def test_a_shadows_failure_stands_beside_each_prediction(folder: Path, refund: Scorer) -> None:
    """It failed the whole batch."""
    failed = {"version": refund.version, "error": "KeyError"}
    assert [line["shadow"] for line in record(folder, refund, Shadow(refund), ("KeyError",))] == [failed] * 3


def private(scorer: Scorer, **ways: str) -> Scorer:
    """The scorer under a contract whose named fields are private in these ways."""
    declared = scorer.contract.model_dump()
    for name, way in ways.items():
        declared["fields"][name]["private"] = way
    return Scorer(replace(scorer.bundle, contract=Contract.model_validate(declared, strict=False)))


@pytest.mark.parametrize(
    ("omitted", "kept"),
    [
        ("amount", ["years_active", "ip_accounts", "refunds", "item_category", "refund_rate"]),
        ("item", ["years_active", "amount", "ip_accounts", "refunds", "refund_rate"]),
        ("refunds", ["years_active", "amount", "ip_accounts", "item_category"]),
    ],
)
def test_what_is_omitted_is_not_in_the_record(folder: Path, refund: Scorer, omitted: str, kept: list[str]) -> None:
    """Nor are features computed from it, which would reveal it; the rest is unchanged."""
    plain = [line["features"] for line in record(folder / "plain", refund)]
    found = [line["features"] for line in record(folder / "private", private(refund, **{omitted: "omit"}))]
    assert found == [{name: features[name] for name in kept} for features in plain]


def test_an_omitted_value_is_still_scored(folder: Path, refund: Scorer) -> None:
    """It is private only in the record."""
    plain, hidden = (record(folder / name, one) for name, one in (("a", refund), ("b", private(refund, amount="omit"))))
    assert [line["probability"] for line in hidden] == [line["probability"] for line in plain]


def categories(folder: Path, scorer: Scorer, key: bytes) -> list[str | None]:
    """What the record says of each request's category, with a key."""
    Recorder(str(folder), key=key).record(private(scorer, item="hash"), answered(scorer), 0.0)
    return [line["features"]["item_category"] for line in lines(folder)]


def test_a_private_value_is_hashed_with_the_key(folder: Path, refund: Scorer) -> None:
    """Equal values have equal hashes, in any process with the key; what is missing stays missing."""
    first, second, third = categories(folder / "a", refund, KEY)
    assert (first, third) == (None, None)
    assert second == keyed_hash("Food, Perishable", KEY)
    assert re.fullmatch(rf"[0-9a-f]{{{HASH_DIGITS}}}", second)
    assert b"Perishable" not in files(folder / "a")[0].read_bytes()
    assert categories(folder / "b", refund, KEY) == [first, second, third]
    assert categories(folder / "c", refund, KEY + b"?")[1] != second
    features = [lines(folder / "a")[1]["features"], record(folder / "plain", refund)[1]["features"]]
    assert features[0] | {"item_category": None} == features[1] | {"item_category": None}


def test_without_a_key_what_is_to_be_hashed_is_left_out(folder: Path, refund: Scorer) -> None:
    """As where a version that is swapped in declares it first; the other features are as ever."""
    plain = [line["features"] for line in record(folder / "plain", refund)]
    found = [line["features"] for line in record(folder / "private", private(refund, item="hash"))]
    kept = [name for name in plain[0] if name != "item_category"]
    assert found == [{name: features[name] for name in kept} for features in plain]


def test_other_values_have_other_hashes() -> None:
    """Of ten thousand no two are the same."""
    assert len({keyed_hash(f"value {number}", KEY) for number in range(10_000)}) == 10_000


@pytest.fixture
def seeded() -> Iterator[None]:
    """The sample is drawn from one seed, and nobody else's draws are disturbed."""
    state = random.getstate()
    random.seed(7)
    yield
    random.setstate(state)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("rate", [0.02, 0.25, 0.9])
def test_of_predictions_a_share_is_recorded(folder: Path, refund: Scorer, rate: float) -> None:
    """Each by its own draw, within five standard deviations; and each line says of how many it is one."""
    recorder = Recorder(str(folder), rate=rate)
    made = answered(refund, REQUESTS[:1] * 1000)
    for _ in range(4):
        recorder.record(refund, made, 0.0)
    found = lines(folder)
    assert len(found) == pytest.approx(4000 * rate, abs=5 * (4000 * rate * (1 - rate)) ** 0.5)
    assert {line["rate"] for line in found} == {rate}


@pytest.mark.usefixtures("seeded")
def test_a_sample_keeps_each_shadow_beside_its_own_prediction(folder: Path, refund: Scorer) -> None:
    """Though others of the batch are left out."""
    requests = [{**REQUESTS[0], "refund_id": str(number)} for number in range(200)]
    shadowed = [Scored([], 0.0, number / 1000, is_flagged=False) for number in range(200)]
    made = answered(refund, requests)
    Recorder(str(folder), rate=0.5).record(refund, made, 0.0, (refund.version, shadowed))
    found = lines(folder)
    assert 50 < len(found) < 150
    assert [line["shadow"]["probability"] for line in found] == [int(line["id"]) / 1000 for line in found]


def test_where_all_is_recorded_a_line_needs_no_rate(folder: Path, refund: Scorer) -> None:
    """It stands for itself."""
    Recorder(str(folder), rate=1.0).record(refund, answered(refund), 0.0)
    assert all("rate" not in line for line in lines(folder))


@pytest.mark.usefixtures("seeded")
def test_where_nothing_of_a_batch_is_drawn_nothing_is_written(folder: Path, refund: Scorer) -> None:
    """No empty line, and no file."""
    Recorder(str(folder), rate=1e-9).record(refund, answered(refund), 0.0)
    assert files(folder) == []


OUTCOMES = [("refund", "r1", True), ("transaction", "é\n", False)]


def test_outcomes_stand_beside_predictions(folder: Path, refund: Scorer) -> None:
    """In the same file, in the order in which they came."""
    recorder = Recorder(str(folder))
    recorder.record(refund, answered(refund, REQUESTS[:1]), 0.0)
    recorder.record_outcomes(OUTCOMES)
    recorder.record(refund, answered(refund, REQUESTS[:1]), 0.0)
    assert len(files(folder)) == 1
    assert ["outcome" in line for line in lines(folder)] == [False, True, True, False]


def test_an_outcome_has_scorer_id_and_label(folder: Path) -> None:
    """The label as 0 or 1, and when it was received."""
    before = time()
    Recorder(str(folder)).record_outcomes(OUTCOMES)
    first, second = lines(folder)
    assert before <= first.pop("time") <= second.pop("time") <= time()
    assert first == {"outcome": FORMAT, "scorer": "refund", "id": "r1", "label": 1}
    assert second == {"outcome": FORMAT, "scorer": "transaction", "id": "é\n", "label": 0}
    assert type(first["label"]) is type(second["label"]) is int


def test_it_says_whether_outcomes_were_recorded(folder: Path) -> None:
    """A caller can send them again."""
    assert Recorder(str(folder)).record_outcomes(OUTCOMES) is True
    assert Recorder(str(files(folder)[0])).record_outcomes(OUTCOMES) is False


def test_every_outcome_is_recorded_whatever_the_rate(folder: Path) -> None:
    """Few predictions have one, and which of them were recorded is unknown by then."""
    Recorder(str(folder), rate=1e-9).record_outcomes(OUTCOMES * 100)
    assert len(lines(folder)) == 200


def test_what_is_recorded_is_what_monitoring_reads(folder: Path, refund: Scorer) -> None:
    """Every line of it, hashed values among them, and none of it is broken."""
    recorder = Recorder(str(folder), rate=0.999999, key=KEY)
    hashing = private(refund, item="hash", amount="omit")
    recorder.record(hashing, answered(hashing), 0.0123456)
    recorder.record_outcomes(OUTCOMES)
    baseline = refund.bundle.baseline["features"]
    log = read_log(str(folder), "refund", Binning(baseline, KEY, frozenset(hashing.hashed_features)))
    assert log.counts == {"predictions": 3, "outcomes": 1, "lines of other scorers": 1}
    place = 1 + baseline["item_category"]["labels"].index("Food, Perishable")
    assert log.bins[:, list(baseline).index("item_category")].tolist() == [0, place, 0]
    assert log.milliseconds.tolist() == [12.346] * 3


def test_what_was_there_stays(folder: Path, refund: Scorer, clock: list[float]) -> None:
    """A process that starts anew leaves the last one's file alone."""
    record(folder, refund)
    (before,) = files(folder)
    content = before.read_bytes()
    clock[0] += 1
    assert len(record(folder, refund)) == 6
    assert (len(files(folder)), before.read_bytes()) == (2, content)


def test_the_file_is_its_owners_alone(folder: Path, refund: Scorer) -> None:
    """It holds what callers sent."""
    record(folder, refund)
    assert [stat.S_IMODE(path.stat().st_mode) for path in files(folder)] == [0o600]


def test_a_file_is_named_by_its_day_its_process_and_its_time(folder: Path, refund: Scorer, clock: list[float]) -> None:
    """So that no two processes of a machine write into one, and a listing has them in order."""
    record(folder, refund)
    (path,) = files(folder)
    assert path.name.startswith(f"2024-10-04-{os.getpid()}-{clock[0]:.3f}")
    assert path.suffix == ".jsonl"


def test_a_folder_is_made_once_there_is_something_to_record(folder: Path) -> None:
    """A function without requests leaves nothing behind."""
    Recorder(str(folder))
    assert not folder.parent.exists()


def test_a_day_has_its_own_files(folder: Path, refund: Scorer, clock: list[float]) -> None:
    """The last second of a day goes to its file, the next day's first to the next; days are UTC's."""
    recorder = Recorder(str(folder))
    for moment in (MIDNIGHT + 1, MIDNIGHT + DAY_SECONDS - 1, MIDNIGHT + DAY_SECONDS, MIDNIGHT + DAY_SECONDS + 1):
        clock[0] = float(moment)
        recorder.record(refund, answered(refund, REQUESTS[:1]), 0.0)
    found = {
        path.name[:10]: [json.loads(line)["time"] for line in path.read_bytes().splitlines()] for path in files(folder)
    }
    assert found == {
        "2024-10-04": [MIDNIGHT + 1, MIDNIGHT + DAY_SECONDS - 1],
        "2024-10-05": [MIDNIGHT + DAY_SECONDS, MIDNIGHT + DAY_SECONDS + 1],
    }


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many bytes a file may have: a few lines."""
    monkeypatch.setattr("handler.records.record.MAX_FILE_BYTES", 2000)
    return 2000


def test_a_full_file_is_followed_by_another(folder: Path, refund: Scorer, clock: list[float], small: int) -> None:
    """None is larger than it may be, none smaller than it has to be, and no line is lost."""
    recorder = Recorder(str(folder))
    for number in range(50):
        clock[0] += 1
        recorder.record(refund, answered(refund, [{**REQUESTS[0], "refund_id": f"{number:02}"}]), 0.0)
    sizes = [path.stat().st_size for path in files(folder)]
    a_line = len(files(folder)[0].read_bytes().splitlines(keepends=True)[0])
    assert max(sizes) <= small
    assert min(sizes[:-1]) > small - 1.1 * a_line
    assert [line["id"] for line in lines(folder)] == [f"{number:02}" for number in range(50)]


@pytest.mark.usefixtures("small")
def test_a_batch_is_never_divided(folder: Path, refund: Scorer, clock: list[float]) -> None:
    """One that is larger than a file may be has a file for itself."""
    recorder = Recorder(str(folder))
    for n_requests in (1, 30, 1):
        clock[0] += 1
        recorder.record(refund, answered(refund, REQUESTS[:1] * n_requests), 0.0)
    assert [len(path.read_bytes().splitlines()) for path in files(folder)] == [1, 30, 1]


def n_open_in(folder: Path) -> int:
    """How many files of a folder this process holds open."""
    return sum(os.path.realpath(descriptor).startswith(str(folder)) for descriptor in Path("/proc/self/fd").iterdir())


@pytest.mark.usefixtures("small")
def test_one_file_is_open_at_a_time(folder: Path, refund: Scorer, clock: list[float]) -> None:
    """A process that runs for years does not run out of them."""
    recorder = Recorder(str(folder))
    made = answered(refund)
    for _ in range(20):
        clock[0] += 1
        recorder.record(refund, made, 0.0)
    assert len(files(folder)) > 9
    assert n_open_in(folder) == 1


@pytest.mark.parametrize("seconds", [0.001, 0.0], ids=["one after the other", "at the same time"])
def test_two_recorders_have_a_file_each(folder: Path, refund: Scorer, clock: list[float], seconds: float) -> None:
    """In one folder and one process."""
    predictions = answered(refund)
    for recorder in (Recorder(str(folder)), Recorder(str(folder))):
        clock[0] += seconds
        recorder.record(refund, predictions, 0.0)
    assert [len(path.read_bytes().splitlines()) for path in files(folder)] == [3, 3]


@pytest.mark.usefixtures("small", "clock")
def test_a_file_that_is_full_within_a_moment_is_followed_by_another(folder: Path, refund: Scorer) -> None:
    """However fast it fills."""
    recorder = Recorder(str(folder))
    for _ in range(2):
        recorder.record(refund, answered(refund, REQUESTS[:1] * 4), 0.0)
    assert len(files(folder)) == 2


def test_lines_of_several_writers_are_kept_apart(folder: Path, refund: Scorer) -> None:
    """Each has its recorder, as the processes of a server do."""
    made = answered(refund, REQUESTS * 100)
    recorders = [Recorder(str(folder)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            list(pool.map(lambda one: one.record(refund, made, 0.0), recorders))
    assert len(lines(folder)) == 4 * 5 * 300


def test_a_record_may_go_to_stdout(refund: Scorer, capfd: pytest.CaptureFixture[str]) -> None:
    """Where Lambda takes it for the log; outcomes too."""
    recorder = Recorder("stdout")
    recorder.record(refund, answered(refund), 0.0)
    recorder.record_outcomes(OUTCOMES)
    written = capfd.readouterr().out.splitlines()
    assert [json.loads(line)["scorer"] for line in written] == ["refund"] * 4 + ["transaction"]


def a_file_is_there(target: Path) -> Path:
    """Where a folder is to be made, and cannot."""
    target.parent.mkdir(parents=True)
    target.write_text("a file")
    return target


def a_file_is_above(target: Path) -> Path:
    """As `a_file_is_there`, one level higher."""
    return a_file_is_there(target) / "predictions"


@pytest.mark.parametrize(("block", "problem"), [(a_file_is_there, "File exists"), (a_file_is_above, "Not a directory")])
def test_a_place_that_cannot_be_written_to_fails_nobody(
    folder: Path, refund: Scorer, caplog: pytest.LogCaptureFixture, block: Callable[[Path], Path], problem: str
) -> None:
    """The failure is logged once, as an error and without any value."""
    recorder = Recorder(str(block(folder)))
    for _ in range(3):
        recorder.record(refund, answered(refund), 0.0)
        recorder.record_outcomes(OUTCOMES)
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("ERROR", f"predictions cannot be recorded: {problem}")
    ]


def test_a_mended_place_is_written_to_again(folder: Path, refund: Scorer, caplog: pytest.LogCaptureFixture) -> None:
    """Without a restart; a later failure is logged again."""
    recorder = Recorder(str(a_file_is_there(folder)))
    recorder.record(refund, answered(refund), 0.0)
    folder.unlink()
    recorder.record(refund, answered(refund), 0.0)
    assert [line["id"] for line in lines(folder)] == ["r1", None, "é\n"]
    assert len(caplog.messages) == 1


def run(script: str, *arguments: str, stdout: Path | None = None) -> str:
    """What a process says on stderr, whose stdout may be a device."""
    prelude = """
import json, os, sys
from handler.records.record import Recorder
"""
    command = [sys.executable, "-c", prelude + script, *arguments]
    with (stdout or Path(os.devnull)).open("wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.decode()


def test_a_full_disk_fails_nobody() -> None:
    """It is logged once."""
    script = """
recorder = Recorder("stdout")
for _ in range(3):
    recorder.record_outcomes([("refund", "r1", True)])
"""
    assert run(script, stdout=Path("/dev/full")) == "predictions cannot be recorded: No space left on device\n"


def test_two_containers_have_a_file_each(folder: Path) -> None:
    """Each has a process 1, and both start a file with the first request after midnight."""
    script = """
import handler.records.record

os.getpid = lambda: 1
handler.records.record.time = lambda: 1_728_000_000.0
Recorder(sys.argv[1]).record_outcomes([("refund", "r1", True)])
"""
    for _ in range(2):
        run(script, str(folder))
    assert [len(path.read_bytes().splitlines()) for path in files(folder)] == [1, 1]


def test_a_file_that_could_not_be_opened_is_opened_later(folder: Path) -> None:
    """While a process may open no more files, and the full one is closed already."""
    script = """
import resource
import handler.records.record

handler.records.record.MAX_FILE_BYTES = 1
recorder = Recorder(sys.argv[1])
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
for name, most in (("before", limits[0]), ("lost", 0), ("lost", 0), ("after", limits[0])):
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
    recorder.record_outcomes([("refund", name, True)])
"""
    assert run(script, str(folder)) == "predictions cannot be recorded: Too many open files\n"
    assert [line["id"] for line in lines(folder)] == ["before", "after"]


def test_a_truncated_line_damages_no_other(folder: Path) -> None:
    """After a full disk the next record starts on a new line."""
    script = """
import resource
recorder = Recorder(sys.argv[1])
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
for name, most in (("before", limits[0]), ("torn", 150), ("lost", 150), ("after", limits[0])):
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    recorder.record_outcomes([("refund", name, True)])
"""
    assert run(script, str(folder)) == "predictions cannot be recorded: File too large\n"
    (path,) = files(folder)
    before, torn, after = path.read_bytes().splitlines()
    assert (json.loads(before)["id"], json.loads(after)["id"]) == ("before", "after")
    assert torn.startswith(b'{"outcome":1,"time":')
    assert not torn.endswith(b"}")


def test_metrics_go_to_stdout_before_the_records_in_one_write(
    refund: Scorer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where both go there a write is saved; where records go elsewhere, metrics still go to stdout."""
    written: list[bytes] = []
    real = os.write
    monkeypatch.setattr(
        "handler.records.record.os.write", lambda file, content: written.append(content) or real(file, content)
    )
    Recorder("stdout").record(refund, answered(refund, REQUESTS[:2]), 0.0, None, b"metrics\n")
    (content,) = written
    assert content.startswith(b'metrics\n{"record":1,')
    assert content.count(b"\n") == 3
    assert capfd.readouterr().out == content.decode()


def test_metrics_are_written_without_records_too(
    refund: Scorer, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A sample that takes none, and a folder, both leave the line of metrics to stdout."""
    for recorder in (Recorder("stdout", rate=1e-9), Recorder(str(folder))):
        recorder.record(refund, answered(refund, REQUESTS[:1]), 0.0, None, b"metrics\n")
        assert capfd.readouterr().out == "metrics\n"
    assert len(lines(folder)) == 1


def test_a_short_record_too_opens_the_file_that_a_long_one_could_not(
    folder: Path, refund: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the full file was closed and no other opened, what would have fitted into the full one needs a new one."""
    one, many = answered(refund, REQUESTS[:1]), answered(refund, REQUESTS[:1] * 8)
    recorder = Recorder(str(folder))
    recorder.record(refund, one, 0.0)
    (first,) = files(folder)
    monkeypatch.setattr(recorder, "_bytes_left", 2 * first.stat().st_size)
    with monkeypatch.context() as failing:
        failing.setattr("handler.records.record._new_file", lambda *_: os.open("/dev/null/none", os.O_WRONLY))
        recorder.record(refund, many, 0.0)
    recorder.record(refund, one, 0.0)
    assert len(files(folder)) == 2
