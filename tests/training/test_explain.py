"""`make explain`: a recorded decision is shown, and recomputed by its own version and compared to the bit."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.variants import write_variant
from handler.records.record import Recorder
from handler.scoring.scorer import Answered, Scorer, load_scorer
from tests.handler.record_lines import record_files, record_lines
from tests.training.workplace import Workplace
from training import explain
from training.data.requests import requests_of
from training.delivery.publish import publish
from training.delivery.store_writer import open_store_writer

KEY = b"a deployment's own"
SCALE = [number / 1000 for number in range(1000)]


@pytest.fixture(scope="module")
def released(mini_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two versions, one with bands, a scale and a control group, and one plain, and their bundles."""
    folder = tmp_path_factory.mktemp("released")
    decision = json.loads((mini_bundle / "manifest.json").read_text())["decision"]
    banded = decision | {"block": {"policy": {}, "threshold": 0.5}, "score": 1000, "control": {"share": 0.5}}
    write_variant(mini_bundle, folder / "banded", shift=0.5, scale=SCALE, decision=banded)
    write_variant(mini_bundle, folder / "plain", slope=0.9)
    store = open_store_writer(str(folder / "store"))
    for name in ("banded", "plain"):
        publish(store, folder / name)
    return folder


@pytest.fixture(scope="module")
def versions(mini_bundle: Path, released: Path) -> list[Scorer]:
    """The packaged version and the two released ones."""
    return [load_scorer(folder) for folder in (mini_bundle, released / "banded", released / "plain")]


@pytest.fixture(scope="module")
def log(versions: list[Scorer], released: Path, trained_rows: Callable[[str], Any]) -> Path:
    """300 decisions by the three versions in turn, some explained, with outcomes for one of them."""
    recorder, number = Recorder(str(released / "log"), key=KEY), 0
    for values in requests_of(trained_rows("test").head(100), versions[0].contract):
        for scorer in versions:
            request = scorer.request_model.model_validate({**values, "row_id": f"r{number}"})
            scored = scorer.explained((scorer.score(request),), every=number % 2 == 0)
            answered = Answered((request,), scored, (scorer.answer(request, scored[0]),))
            recorder.record(scorer, answered, 0.0, sources={"gateway_request": f"g{number}"})
            number += 1
    details = [{"source": "review", "by": "analyst 7", "note": "card holder confirmed"}, {"source": "chargeback"}]
    recorder.record_outcomes([("mini", "r1", False), ("mini", "r1", True)], details)
    return released / "log"


@pytest.fixture
def recorded(log: Path, workplace: Workplace) -> list[dict[str, Any]]:
    """The recorded decisions; log and store are copied into the working folder."""
    for folder in (log, log.with_name("store")):
        shutil.copytree(folder, workplace.folder / folder.name)
    return [line for line in record_lines(log) if "record" in line]


def rewrite(workplace: Workplace, identifier: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change one recorded prediction."""
    (path,) = record_files(workplace.folder / "log")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if "record" in line and line["id"] == identifier:
            change(line)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.usefixtures("recorded")
def test_all_decisions_are_recomputed(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of 300 decisions is recomputed by the version that made it."""
    assert workplace.run(explain, "mini", "log") == 0
    assert capsys.readouterr().out == (
        "mini: 300 decisions of 3 versions: 300 recomputed equal, 0 recomputed different, 0 not recomputed\n"
    )


def test_a_decision_in_words_and_as_json(
    workplace: Workplace,
    recorded: list[dict[str, Any]],
    versions: list[Scorer],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The output has the decision, its thresholds, reasons, invocation and outcomes."""
    assert workplace.run(explain, "mini", "log", "--id", "r1", "--output", "decision.json") == 0
    text, line, scorer = capsys.readouterr().out, recorded[1], versions[1]
    assert text.startswith("mini r1, ")
    assert f"version {scorer.version}\n  probability {line['probability']}: {line['band']} (review from " in text
    assert ", block from 0.5 on)" in text
    assert f"  score {line['score']}\n" in text
    assert "  gateway request g1\n  recomputed equal\n  log-odds before any reason " in text
    assert ": legitimate (review, by analyst 7, card holder confirmed)\n" in text
    assert text.rstrip().endswith(": fraud (chargeback)")
    (content,) = json.loads(Path("decision.json").read_text())
    assert content["record"] == line
    assert [reason["field"] for reason in content["reasons"]] != []
    total = content["base_log_odds"] + sum(reason["contribution"] for reason in content["reasons"])
    assert 1 / (1 + math.exp(-total)) == pytest.approx(line["probability"], abs=1e-12)
    assert [outcome["label"] for outcome in content["outcomes"]] == [0, 1]


@pytest.mark.usefixtures("recorded")
def test_who_was_let_through_is_told(
    workplace: Workplace, recorded: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The output says that the decision was to block, and that the control group or a list overruled it."""
    line = next(line for line in recorded if line.get("control", {}).get("let_through"))
    assert workplace.run(explain, "mini", "log", "--id", line["id"]) == 0
    text = capsys.readouterr().out
    assert ": block (review from" in text
    assert "  let through anyway, as part of the control group (share 0.5)\n" in text
    rewrite(workplace, "r1", lambda line: line.update(list="allow"))
    assert workplace.run(explain, "mini", "log", "--id", "r1") == 0
    assert "  decided by a list: allow\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        (lambda line: line.update(probability=0.25), 1, "recomputed different: probability: recorded 0.25, recomputed"),
        (lambda line: line.update(band="approve"), 1, "recomputed different: band: recorded 'approve', recomputed '"),
        (
            lambda line: line["features"].pop("amount"),
            0,
            "not recomputed: amount is not in the record (the record is incomplete)",
        ),
        (lambda line: line.update(base=7.5), 1, "recomputed different: base: recorded 7.5, recomputed "),
        (
            lambda line: line.update(version="0123456789ab"),
            0,
            "not recomputed: version 0123456789ab is not packaged in build/bundles/mini",
        ),
        (
            lambda line: line["features"].update(country="Atlantis"),
            0,
            "not recomputed: country has a value that version",
        ),
        (lambda line: line.pop("features"), 0, "not recomputed: broken lines (no usable features)"),
        (lambda line: line.pop("version"), 0, "not recomputed: broken lines (no usable version)"),
        (lambda line: line.pop("probability"), 0, "not recomputed: broken lines (no usable probability)"),
        (lambda line: line.update(time="noon"), 0, "not recomputed: broken lines (no usable time)"),
    ],
    ids=[
        "another probability",
        "another band",
        "lost",
        "another base",
        "no such version",
        "no such value",
        "no features",
        "no version",
        "no probability",
        "no time",
    ],
)
@pytest.mark.usefixtures("recorded")
def test_what_differs_is_told(
    workplace: Workplace,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], None],
    status: int,
    said: str,
) -> None:
    """One decision is shown with both values, several are counted; what is not recomputed has its reason."""
    rewrite(workplace, "r1", change)
    assert workplace.run(explain, "mini", "log", "--id", "r1") == status
    assert f"  {said}" in capsys.readouterr().out
    assert workplace.run(explain, "mini", "log") == status
    assert "299 recomputed equal" in capsys.readouterr().out


@pytest.mark.usefixtures("recorded")
def test_lines_of_before_are_compared_as_far_as_they_go(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Older records without thresholds, contributions and invocation ids are compared by what they have."""
    keys = ("threshold", "block", "base", "contributions", "gateway_request", "score", "control", "band")

    def shorten(line: dict[str, Any]) -> None:
        for key in keys:
            line.pop(key, None)

    rewrite(workplace, "r1", shorten)
    assert workplace.run(explain, "mini", "log", "--id", "r1") == 0
    assert "(no threshold)\n  recomputed equal\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("mini", "log", "--id", "r9999"), "holds no prediction with the id 'r9999' of mini"),
        (("mini", "nowhere"), "nowhere does not exist"),
        (("mimi", "log"), "there is no scorers.mimi"),
    ],
)
@pytest.mark.usefixtures("recorded")
def test_mistakes_are_one_sentence(workplace: Workplace, arguments: tuple[str, ...], sentence: str) -> None:
    """The sentence names the mistake and what is allowed."""
    assert sentence in workplace.run(explain, *arguments)


def test_hashed_values_are_found_by_the_key(
    workplace: Workplace,
    versions: list[Scorer],
    trained_rows: Callable[[str], Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Values of a field that is private: hash are found with the key; without it, the decision is not recomputed."""
    contract = json.loads((workplace.folder / "build/bundles/mini/manifest.json").read_text())["contract"]
    contract["fields"]["country"]["private"] = "hash"
    write_variant(workplace.folder / "build/bundles/mini", workplace.folder / "hashing", contract=contract)
    publish(open_store_writer("store"), workplace.folder / "hashing")
    scorer = load_scorer(workplace.folder / "hashing")
    values = next(values for values in requests_of(trained_rows("test"), versions[0].contract) if values.get("country"))
    request = scorer.request_model.model_validate({**values, "row_id": "r1"})
    scored = (scorer.score(request),)
    recorder = Recorder("log", key=KEY)
    recorder.record(scorer, Answered((request,), scored, (scorer.answer(request, scored[0]),)), 0.0)
    for key, said in (
        (KEY, "recomputed equal"),
        (b"", "country has a value that version"),
        (b"x", "if it is hashed, PREDICTIONS_KEY must be the function's"),
    ):
        monkeypatch.setenv("PREDICTIONS_KEY", key.decode())
        assert workplace.run(explain, "mini", "log", "--id", "r1") == 0
        assert said in capsys.readouterr().out


@pytest.mark.usefixtures("recorded")
def test_nobody_can_forge_a_line(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    """Notes of outcomes are untrusted, so control characters in them are shown as text."""
    Recorder("log", key=KEY).record_outcomes([("mini", "r1", True)], [{"note": "x)\n  recomputed equal\n\x1b[2J"}])
    assert workplace.run(explain, "mini", "log", "--id", "r1") == 0
    text = capsys.readouterr().out
    assert text.count("\n  recomputed equal\n") == 1
    assert "x)\\n  recomputed equal\\n\\x1b[2J" in text
    assert "\x1b" not in text
