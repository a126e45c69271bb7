"""A try: the output folder, the stages, and one run from end to end."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from training.declaration import declared_scorer
from training.errors import StageError
from training.intake import suggested_params
from training.intake.infer import Inferred
from training.intake.proposed_history import proposed_blocks, with_history_blocks
from training.intake.suggested_params import params_text, settings_for
from training.params import Decision
from training.try_file import (
    HEADLINE,
    LOG,
    STAGES,
    check_folder,
    chosen_history,
    data_warnings,
    headline_metrics,
    inferred_file,
    main,
    operating_points,
    read_delay,
    remove_results,
    run_stage,
)


def write(path: Path, content: str) -> Path:
    """A file with this content."""
    path.write_text(content)
    return path


PROJECT = Path(__file__).parents[2]
Payments = Callable[..., pd.DataFrame]


def test_folders(tmp_path: Path, inferred: Callable[..., Inferred]) -> None:
    """A folder may be new, empty, or of an earlier try, which the first line of its params.yaml shows.

    A folder with other files, a file, and the repository itself are refused.
    """
    assert check_folder(tmp_path / "new") is None
    assert check_folder(tmp_path) is None
    write(tmp_path / "params.yaml", params_text("shop", "/shop", "a.csv", inferred(), {"split": "{}"}))
    assert check_folder(tmp_path) == "shop"
    file = write(tmp_path / "params.yaml", "scorers: {}\n")
    with pytest.raises(StageError, match="has files not written by `make try`"):
        check_folder(tmp_path)
    with pytest.raises(StageError, match="is a file"):
        check_folder(file)
    with pytest.raises(StageError, match="inside the repository"):
        check_folder(PROJECT / "build" / "try")


def test_only_what_a_try_wrote_is_removed(tmp_path: Path) -> None:
    """A user's own files survive a new try, and only the earlier try's results are removed."""
    for file in ("notes.txt", "params.yaml", "data/shop.parquet", "data/mine.csv", "build/shop/model.ubj"):
        (tmp_path / file).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / file).touch()
    remove_results(tmp_path, "shop")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["mine.csv", "notes.txt"]


@pytest.fixture
def declared(tmp_path: Path, inferred: Callable[..., Inferred]) -> Path:
    """The folder of a try with its params.yaml and data, before the first stage runs."""
    file = inferred()
    write(tmp_path / "params.yaml", params_text("shop", "/shop", "a.csv", file, settings_for(file)))
    (tmp_path / "data").mkdir()
    file.rows.to_parquet(tmp_path / "data" / "shop.parquet")
    return tmp_path


def test_failing_stage_has_its_own_message(declared: Path) -> None:
    """The message of a stage that stops is shown; after a traceback, the message names the log that has it."""
    build = write(declared / "build", "a file in the place of a folder")
    with pytest.raises(StageError, match=r"^prepare failed \(.*build.*\); the traceback is in .*stages.log$"):
        run_stage("prepare", "shop", declared)
    assert "Traceback" in (declared / "stages.log").read_text()
    build.unlink()
    write(declared / "data" / "shop.parquet", "no Parquet file")
    with pytest.raises(StageError, match=r"^prepare shop: data/shop.parquet is not Parquet"):
        run_stage("prepare", "shop", declared)


def test_headline_has_intervals(tmp_path: Path) -> None:
    """Each headline metric is shown with its interval."""
    folder = tmp_path / "reports" / "shop"
    folder.mkdir(parents=True)
    write(folder / "metrics.json", json.dumps({"rows": 400, "frauds": 24} | dict.fromkeys(HEADLINE, 0.5)))
    write(folder / "intervals.json", json.dumps(dict.fromkeys(HEADLINE, (0.4, 0.6))))
    lines = headline_metrics("shop", tmp_path).splitlines()
    assert lines[0] == "400 later rows with 24 frauds, unseen in training and calibration:"
    assert lines[1].split() == ["roc_auc", "0.500", "(95", "%:", "0.400", "to", "0.600)"]
    assert len(lines) == 1 + len(HEADLINE)


def test_warnings_of_columns_are_repeated(tmp_path: Path) -> None:
    """The warnings of prepare's report can be shown beside the headline."""
    folder = tmp_path / "reports" / "shop"
    folder.mkdir(parents=True)
    write(folder / "rows.json", json.dumps({"warnings": ["status GIVES THE LABEL AWAY"]}))
    assert data_warnings("shop", tmp_path) == ["status GIVES THE LABEL AWAY"]


@pytest.mark.parametrize(
    ("fields", "money"),
    [
        (
            "{amount: {type: money, unit: EUR, min: 0}, x: {type: number}}",
            ", catches 1,234 EUR of the fraudulent amount in 1,000",
        ),
        ("{x: {type: number}}", ""),
    ],
)
def test_operating_points_end_the_report(fields: str, money: str, tmp_path: Path, declared: Path) -> None:
    """Three usual policies are described, with money if there is an amount, and how to choose another one."""
    block = yaml.safe_load((declared / "params.yaml").read_text())
    block["scorers"]["shop"]["fields"] = yaml.safe_load(fields)
    write(tmp_path / "params.yaml", yaml.safe_dump(block, sort_keys=False))
    (tmp_path / "reports" / "shop").mkdir(parents=True)
    point = {"recall": 0.5, "recall_low": 0.4, "recall_high": 0.6, "precision": 0.25, "precision_low": 0.2}
    point |= {"precision_high": 0.3, "alert_rate": 0.011, "caught_amount_of_1000": 1234.4, "caught_amount_share": 0.61}
    aims = ["review_rate 0.01", "review_rate 0.05", "recall 0.5", "recall 0.9", "declared"]
    pd.DataFrame([{"aim": aim, **point} for aim in aims]).to_csv(tmp_path / "reports/shop/thresholds.csv", index=False)
    first, *lines, last = operating_points("shop", tmp_path).splitlines()
    assert "95 % intervals" in first
    assert [line[:20].strip() for line in lines] == ["1 % of traffic", "5 % of traffic", "90 % of the frauds"]
    headline = f"recall 0.500 (0.400 to 0.600), precision 0.250 (0.200 to 0.300), flags 1.1%{money}"
    assert all(headline in line for line in lines)
    assert ("61%" in lines[0]) == bool(money)
    assert last.startswith("The policy is review_rate: 0.05. For another, change `decision` in ")


@pytest.mark.parametrize(
    ("has_fraud", "shown"),
    [
        (lambda row: row < 1_400, "the last fraud is from 2025-03-1"),
        (lambda row: row >= 1_640, "the first fraud is from 2025-03-24"),
        (lambda row: (row < 40) | (row >= 1_190), "WARNING: no fraud between 2025-01-02 00:00:00 and 2025-03-0"),
    ],
    ids=["cut off at the end", "cut off at the start", "a gap"],
)
def test_missing_labels_are_told_in_a_users_words(
    has_fraud: Callable[[np.ndarray], np.ndarray], shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dates are reported before anything is trained, without naming settings that a try cannot change."""
    row = np.arange(2_000)
    rows = pd.DataFrame({"amount": row % 97 + 0.5, "shop": row % 7, "at": pd.Timestamp("2025-01-01")})
    rows["at"] += pd.to_timedelta(row // 20, unit="D")
    rows["is_fraud"] = ((row % 10 == 0) & has_fraud(row)).astype(int)
    rows.to_csv(tmp_path / "pay.csv", index=False)
    with pytest.raises(SystemExit) as refused:
        # The output is below a file, so a run that is not refused ends when it creates its folder.
        main(
            [
                "--data",
                str(tmp_path / "pay.csv"),
                "--label",
                "is_fraud",
                "--time",
                "at",
                "--out",
                str(tmp_path / "pay.csv" / "out"),
            ]
        )
    output = capsys.readouterr().out + str(refused.value)
    assert shown in output
    for word in ("folds", "split", "params.yaml", "parquet"):
        assert word not in output.replace(str(tmp_path), "")


def test_too_few_frauds_are_refused(tmp_path: Path, payments: Payments) -> None:
    """With a handful of frauds nothing is trained, and nothing is written."""
    payments(300, 0.02).to_csv(tmp_path / "few.csv", index=False)
    with pytest.raises(
        SystemExit,
        match=r"try: .*few.csv has \d frauds .* a model needs at least 30\. With \d, about 1 .* from 21% to 100%",
    ):
        main(["--data", str(tmp_path / "few.csv"), "--label", "status == 'chargeback'", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["--data", "", "--label", ""], ["--data", "pay.csv"]])
def test_missing_variables_show_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without DATA and LABEL the command prints its usage."""
    with pytest.raises(SystemExit):
        main(arguments)
    assert "make try DATA=payments.csv LABEL=is_fraud" in capsys.readouterr().err


def test_folder_that_cannot_be_created(tmp_path: Path, payments: Payments) -> None:
    """A system error is reported in one line."""
    payments().to_csv(tmp_path / "pay.csv", index=False)
    out = write(tmp_path / "file", "") / "out"
    with pytest.raises(SystemExit, match=r"^try: .*file"):
        main(["--data", str(tmp_path / "pay.csv"), "--label", "status == 'chargeback'", "--out", str(out)])


def test_equal_probabilities_change_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If too many rows tie for the usual policy, it is replaced by a recall, and a warning says so."""
    monkeypatch.setattr(suggested_params, "TRIALS", 1)
    row = np.arange(1_200)
    # In each of the four blocks, half of the rows share one probability of that block's model.
    rows = pd.DataFrame({"is_new": row % 2 == 0, "is_fraud": (row % 20 == 0).astype(int)})
    rows.to_csv(tmp_path / "tied.csv", index=False)
    out = tmp_path / "out"
    main(["--data", str(tmp_path / "tied.csv"), "--label", "is_fraud", "--out", str(out)])
    printed = capsys.readouterr().out
    said = (
        "WARNING: no threshold satisfies the policy {review_rate: 0.05}, because more rows than that share the highest"
    )
    # Once when it happens, and once beside the metrics.
    assert printed.count(said) == 2
    assert "The policy is recall: 0.9. For another" in printed
    assert declared_scorer("tied", out / "params.yaml").decision == Decision(recall=0.9)
    assert json.loads((out / "reports/tied/metrics.json").read_text())["recall"] == 1


def bursts(n_rows: int) -> pd.DataFrame:
    """Payments of sixty days, in which frauds come as eight of one card within half an hour and have no other sign."""
    draw = np.random.default_rng(1)
    n_bursts = n_rows // 400
    n_usual = n_rows - 8 * n_bursts
    card = draw.integers(n_rows // 25, size=n_usual)
    usual = {"at": draw.integers(60 * 86_400, size=n_usual), "card": card, "device": 2 * card + draw.integers(2)}
    start, whose = draw.integers(60 * 86_400, size=n_bursts), draw.integers(n_rows // 25, size=n_bursts)
    at = np.repeat(start, 8) + np.tile(np.arange(8), n_bursts) * 200
    burst = {"at": at, "card": np.repeat(whose, 8), "device": 10**6 + np.repeat(whose, 8)}
    parts = [pd.DataFrame(usual).assign(is_fraud=0), pd.DataFrame(burst).assign(is_fraud=1)]
    rows = pd.concat(parts).sort_values("at", kind="stable", ignore_index=True)
    rows["merchant"], rows["amount"] = draw.integers(90, size=n_rows), np.round(draw.lognormal(3, 1, n_rows), 2)
    for name in ("card", "device", "merchant"):
        rows[name] = name[0] + rows[name].astype(str).str.zfill(7)
    return rows.assign(at=pd.to_datetime(rows["at"] + 1_750_000_000, unit="s").astype(str))


def test_histories_that_help_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Histories of cards, devices and merchants are tried; only those with bursts of frauds are kept."""
    bursts(6_000).to_csv(tmp_path / "bursts.csv", index=False)
    inferred, _ = inferred_file(tmp_path / "bursts.csv", "is_fraud", "at", 0.0)
    folder, blocks = tmp_path / "out", proposed_blocks(inferred, 0.0)
    settings = settings_for(with_history_blocks(inferred, blocks))
    (folder / "data").mkdir(parents=True)

    def declare(chosen: Inferred) -> None:
        chosen.rows.to_parquet(folder / "data" / "bursts.parquet", index=False)
        write(folder / "params.yaml", params_text("bursts", "/bursts", "bursts.csv", chosen, settings))

    chosen_history(inferred, blocks, "bursts", folder, declare)
    printed = capsys.readouterr().out
    assert "histories of device, card, merchant:" in printed
    assert "merchant: left out, it gains too little, " in printed
    declared = declared_scorer("bursts", folder / "params.yaml")
    assert declared.history
    assert set(declared.history.entities) & {"card", "device"}
    assert "merchant" not in declared.history.entities
    # A merchant is still counted among a card's features.
    assert "merchant" in declared.fields
    gain = re.search(r"(?:card|device): kept, \+([0-9.]+)", printed)
    assert gain
    assert float(gain[1]) > 0.5


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_a_label_delay_is_a_number_of_days(text: str) -> None:
    """Anything else is refused in one sentence."""
    with pytest.raises(
        StageError, match=rf"^LABEL_DELAY is {text}; it must be the number of days after which labels are known"
    ):
        read_delay(text)
    assert (read_delay(""), read_delay("1.5")) == (0.0, 1.5)


def test_file_becomes_a_scorer(
    tmp_path: Path, payments: Payments, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command turns a user's file into a bundle, reports and a block of params.yaml, and prints the metrics."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(suggested_params, "TRIALS", 2)
    payments(1_000).to_csv("Pay.csv", index=False, sep=";")
    main(["--data", "Pay.csv", "--out", "out", "--time", "When", "--label", 'status == "chargeback"'])
    printed = capsys.readouterr()
    assert printed.err == ""
    for stage in STAGES:
        assert f"\n{stage}:\n" in printed.out
    served = f"BUNDLES={tmp_path}/out/build/bundles make serve"
    for text in (
        "When: read with the day first",
        "Payment ID: left out",
        "roc_auc",
        served,
        "5 % of traffic",
        "review_rate: 0.05",
    ):
        assert text in printed.out
    for file in ("build/bundles/pay/manifest.json", "reports/pay/card.html", "data/pay.parquet"):
        assert Path("out", file).is_file()
    assert declared_scorer("pay", Path("out/params.yaml")).label == "label"
    assert json.loads(Path("out/reports/pay/metrics.json").read_text())["roc_auc"] > 0.8
    # Stages print their reports as JSON, which only the log has.
    assert '\n "windows": {\n' in Path("out", LOG).read_text()
    assert '"windows"' not in printed.out
