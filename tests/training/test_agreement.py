"""Agreement: how a shadow's answers differ from the champion's, read from the function's log."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.variants import write_variant
from handler.records.record import Recorder
from handler.releases.shadow import Shadow
from handler.scoring.scorer import Answered, Scorer, load_scorer
from training.agreement import agreement, agreement_figure, main, read_shadow_pairs
from training.data.requests import requests_of
from training.errors import DataError

N_REQUESTS = 300


@pytest.fixture(scope="module")
def champion(mini_bundle: Path) -> Scorer:
    """The mini scorer."""
    return load_scorer(mini_bundle)


@pytest.fixture(scope="module")
def bolder(mini_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """The same scorer with higher probabilities."""
    folder = tmp_path_factory.mktemp("bolder") / "mini"
    write_variant(mini_bundle, folder, shift=1.0)
    return load_scorer(folder)


@pytest.fixture(scope="module")
def bodies(trained: Path, champion: Scorer) -> list[str]:
    """Requests of the mini scorer."""
    rows = pd.read_parquet(trained / "build/mini/rows/test.parquet").head(N_REQUESTS)
    return [json.dumps(request) for request in requests_of(rows, champion.contract)]


def recorded(path: Path, scorer: Scorer, shadow: Scorer, bodies: list[str]) -> list[bytes]:
    """The lines that the function records for these requests."""
    recorder, beside = Recorder(str(path)), Shadow(shadow)
    for body in bodies:
        request = scorer.request_model.model_validate_json(body)
        scores = beside.scores(body.encode(), is_batch=False)
        answered = Answered([request], [scorer.score(request)], [scorer.answer(request)])
        recorder.record(scorer, answered, 0.001, (beside.version, scores))
    return [line for file in path.iterdir() for line in file.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def lines(champion: Scorer, bolder: Scorer, bodies: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The champion's log with the bolder scorer as its shadow."""
    return recorded(tmp_path_factory.mktemp("log") / "predictions", champion, bolder, bodies)


def test_agreement_counts_flips_and_correlates(lines: list[bytes]) -> None:
    """A shadow with shifted log-odds flags more, unflags nothing, and is fully correlated with the champion."""
    report = agreement(read_shadow_pairs(lines, "mini"))
    expected = sum(not record["flagged"] and record["shadow"]["flagged"] for record in map(json.loads, lines))
    assert report["flips"]["newly_flagged"]["count"] == expected > 0
    assert report["flips"]["no_longer_flagged"]["count"] == 0
    rates = report["alert_rate"]
    assert rates["shadow"]["count"] - rates["champion"]["count"] == expected
    assert report["correlation"]["log_odds"] == pytest.approx(1)
    assert report["correlation"]["ranks"] == pytest.approx(1)


def test_blocks_are_compared_where_there_are_any(lines: list[bytes]) -> None:
    """If there are bands, block rates and flips are reported like those of flags, and are not features."""
    records = list(map(json.loads, lines))
    for record in records:
        record["band"] = "block" if record["probability"] >= 0.5 else "approve"
        record["shadow"]["band"] = "block" if record["shadow"]["probability"] >= 0.5 else "approve"
    report = agreement(read_shadow_pairs([json.dumps(record).encode() for record in records], "mini"))
    newly = sum(record["band"] != "block" and record["shadow"]["band"] == "block" for record in records)
    assert report["block_flips"]["newly_blocked"]["count"] == newly > 0
    assert report["block_flips"]["no_longer_blocked"]["count"] == 0
    assert report["block_rate"]["champion"]["count"] == sum(record["band"] == "block" for record in records)
    assert not {"blocked", "shadow_blocked"} & {segment["feature"] for segment in report["segments"]}
    assert "block_rate" not in agreement(read_shadow_pairs(lines, "mini"))


def test_segments_hold_every_row_of_a_feature(lines: list[bytes]) -> None:
    """Missing values are a segment too, and segments of fewer than 20 rows are left out."""
    segments = agreement(read_shadow_pairs(lines, "mini"))["segments"]
    rows = Counter[str]()
    for segment in segments:
        rows[segment["feature"]] += segment["rows"]
        assert segment["count"] <= segment["rows"]
    assert rows["amount"] == N_REQUESTS
    assert all(N_REQUESTS - 60 <= count <= N_REQUESTS for count in rows.values())


def test_segment_that_differs_is_first(lines: list[bytes]) -> None:
    """The segment of a country for which the shadow decides otherwise is listed first."""
    changed = []
    for line in lines:
        record = json.loads(line)
        is_german = record["features"]["country"] == "DE"
        record["shadow"]["flagged"] = record["flagged"] != is_german
        changed.append(json.dumps(record).encode())
    first = agreement(read_shadow_pairs(changed, "mini"))["segments"][0]
    assert (first["feature"], first["value"], first["share"]) == ("country", "DE", 1.0)


def test_only_the_latest_pair_of_versions_is_compared(
    champion: Scorer, bolder: Scorer, lines: list[bytes], bodies: list[str], tmp_path: Path
) -> None:
    """Records of earlier pairs of versions are counted and left out."""
    later = recorded(tmp_path / "later", bolder, champion, bodies[:50])
    shadowed = read_shadow_pairs([*lines, *later], "mini")
    assert (shadowed.champion, shadowed.shadow, len(shadowed.rows)) == (bolder.version, champion.version, 50)
    assert shadowed.counts["records of former pairs of versions"] == N_REQUESTS


def test_what_cannot_be_compared_is_counted(lines: list[bytes]) -> None:
    """Broken lines, other scorers and failures of the shadow are counted; too few pairs give no report."""
    whole: dict[str, Any] = json.loads(lines[0])
    others = [
        {**whole, "scorer": "refund"},
        {**whole, "shadow": {"version": "0" * 12, "error": "ValidationError"}},
        {**whole, "shadow": None},
        {**whole, "shadow": [whole["shadow"]]},
        {**whole, "shadow": {"version": "0" * 12}},
        {**whole, "features": None},
    ]
    unusable = [lines[0][:40], b"", *(json.dumps(record).encode() for record in others)]
    shadowed = read_shadow_pairs([*unusable, *lines], "mini")
    assert len(shadowed.rows) == N_REQUESTS
    assert shadowed.counts == {
        "broken lines (no JSON, or cut short)": 1,
        "empty lines": 1,
        "lines of scorer 'refund'": 1,
        "shadow failed: ValidationError": 1,
        "predictions without a shadow's": 1,
        "broken lines (no usable shadow)": 1,
        "broken lines (no usable probability)": 1,
        "broken lines (no usable features)": 1,
    }
    with pytest.raises(
        DataError, match="the log holds 5 requests of mini that its latest champion and shadow both scored; at least 20"
    ):
        read_shadow_pairs(lines[:5], "mini")


def test_repeated_predictions_are_compared_once(lines: list[bytes]) -> None:
    """Predictions of a log that was delivered twice, in an envelope, are compared once."""
    named = [json.dumps({**json.loads(line), "id": str(number)}) for number, line in enumerate(lines)]
    envelope = json.dumps({"logEvents": [{"message": line} for line in named * 2]}).encode()
    shadowed = read_shadow_pairs([envelope], "mini")
    assert len(shadowed.rows) == N_REQUESTS
    assert shadowed.counts == {"predictions recorded again, counted once": N_REQUESTS}


def test_figure_has_a_dot_for_each_prediction(lines: list[bytes]) -> None:
    """The figure has a dot for each prediction, in two colours."""
    (axes,) = agreement_figure(read_shadow_pairs(lines, "mini")).axes
    assert sum(len(np.asarray(dots.get_offsets())) for dots in axes.collections) == N_REQUESTS


def test_command_writes_report_and_figure(
    lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command prints the main figures; a missing log ends it with a sentence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").write_bytes(b"\n".join(lines))
    monkeypatch.setattr(sys, "argv", ["agreement", "mini", "log"])
    main()
    assert "newly flagged: " in capsys.readouterr().out
    assert json.loads((tmp_path / "build/agreement/mini.json").read_text())["predictions"] == N_REQUESTS
    assert (tmp_path / "build/agreement/mini.svg").read_text().startswith("<?xml")
    monkeypatch.setattr(sys, "argv", ["agreement", "mini", "missing"])
    with pytest.raises(SystemExit, match=r"^agreement: missing does not exist; "):
        main()


def test_scorer_must_be_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`make agreement` without SCORER passes an empty name."""
    monkeypatch.setattr(sys, "argv", ["agreement", "", "predictions"])
    with pytest.raises(SystemExit):
        main()
    assert "SCORER= must name a scorer of params.yaml" in capsys.readouterr().err
