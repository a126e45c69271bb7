"""Try: the folder for the results, the stages, and one run from end to end."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from training.declaration import declared_scorer
from training.intake.infer import Inferred
from training.intake.suggested_params import params_text, settings_for
from training.try_file import (
    HEADLINE,
    STAGES,
    TryError,
    check_folder,
    headline,
    main,
    remove_former,
    run_stage,
    scorer_name,
)


def write(path: Path, content: str | bytes) -> Path:
    """A file with this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


PROJECT = Path(__file__).parents[2]
N = 2_000


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Wild Payments 2024.csv", "wild_payments_2024"),
        ("2024.csv", "scorer_2024"),
        ("金额.csv", "scorer"),
        ("refund.csv", "refund_2"),
        ("transactions.parquet", "transactions_2"),
        ("predict.csv", "predict_2"),
        ("health.csv", "health_2"),
    ],
)
def test_scorer_is_named_after_the_file(file: str, name: str) -> None:
    """The name fits params.yaml; a scorer, a route or a data file that the repository has is not taken again."""
    assert scorer_name(Path(file)) == (name, f"/{name}")


def test_new_and_former_folders(tmp_path: Path, inferred: Callable[..., Inferred]) -> None:
    """A folder may be new, empty, or a former try's, which is told by its first line."""
    assert check_folder(tmp_path / "new") is None
    assert check_folder(tmp_path) is None
    settings = {"split": "{}"}
    write(tmp_path / "params.yaml", params_text("shop", "/shop", "a.csv", inferred(), settings))
    assert check_folder(tmp_path) == "shop"


def test_folder_of_somebody_else(tmp_path: Path) -> None:
    """A folder with other files, a file, and the repository itself are refused."""
    file = write(tmp_path / "params.yaml", "scorers: {}\n")
    with pytest.raises(TryError, match="holds files that no try made"):
        check_folder(tmp_path)
    with pytest.raises(TryError, match="is a file"):
        check_folder(file)
    with pytest.raises(TryError, match="inside the repository"):
        check_folder(PROJECT / "build" / "try")


def test_only_what_a_try_wrote_is_removed(tmp_path: Path) -> None:
    """Another scorer's results and a user's own notes outlive a new try."""
    for file in ("notes.txt", "params.yaml", "data/shop.parquet", "data/mine.csv", "build/shop/model.ubj"):
        (tmp_path / file).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / file).touch()
    remove_former(tmp_path, "shop")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["mine.csv", "notes.txt"]


@pytest.fixture
def declared(tmp_path: Path, inferred: Callable[..., Inferred]) -> Path:
    """A try's folder with its block, nothing run yet."""
    found = inferred()
    write(tmp_path / "params.yaml", params_text("shop", "/shop", "a.csv", found, settings_for(found)))
    (tmp_path / "data").mkdir()
    found.rows.to_parquet(tmp_path / "data" / "shop.parquet")
    return tmp_path


def test_failing_stage_ends_with_its_sentence(declared: Path) -> None:
    """What a stage says when it stops is what the try says."""
    write(declared / "data" / "shop.parquet", "no Parquet file")
    with pytest.raises(TryError, match=r"^prepare shop: data/shop.parquet cannot be read"):
        run_stage("prepare", "shop", declared)


def test_broken_stage_names_its_log(declared: Path) -> None:
    """A traceback is for the log; the message says where that is."""
    write(declared / "build", "a file in the place of a folder")
    with pytest.raises(TryError, match=r"^prepare broke \(.*build.*\); the whole message is in .*stages.log$"):
        run_stage("prepare", "shop", declared)
    assert "Traceback" in (declared / "stages.log").read_text()


def test_headline_has_intervals(tmp_path: Path) -> None:
    """Each headline metric is shown with its interval."""
    folder = tmp_path / "reports" / "shop"
    folder.mkdir(parents=True)
    write(folder / "metrics.json", json.dumps({"rows": 400, "frauds": 24} | dict.fromkeys(HEADLINE, 0.5)))
    write(folder / "intervals.json", json.dumps(dict.fromkeys(HEADLINE, (0.4, 0.6))))
    lines = headline("shop", tmp_path).splitlines()
    assert lines[0] == "400 later rows with 24 frauds, which no step before had seen:"
    assert lines[1].split() == ["roc_auc", "0.500", "(95", "%:", "0.400", "to", "0.600)"]
    assert len(lines) == 1 + len(HEADLINE)


def test_too_few_frauds_are_refused(tmp_path: Path, payments: Callable[..., pd.DataFrame]) -> None:
    """With a handful of frauds nothing is trained, and nothing written."""
    payments(300, 0.02).to_csv(tmp_path / "few.csv", index=False)
    with pytest.raises(SystemExit, match=r"try: .*few.csv has \d frauds .* a model needs at least 30"):
        main(["--data", str(tmp_path / "few.csv"), "--label", "status == 'chargeback'", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["--data", "", "--label", ""], ["--data", "pay.csv"]])
def test_missing_variables_show_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without DATA and LABEL the command says how it is called."""
    with pytest.raises(SystemExit):
        main(arguments)
    assert "make try DATA=payments.csv LABEL=is_fraud" in capsys.readouterr().err


def test_folder_that_cannot_be_made(tmp_path: Path, payments: Callable[..., pd.DataFrame]) -> None:
    """What the system refuses ends with its sentence."""
    payments().to_csv(tmp_path / "pay.csv", index=False)
    out = write(tmp_path / "file", "") / "out"
    with pytest.raises(SystemExit, match=r"^try: .*file"):
        main(["--data", str(tmp_path / "pay.csv"), "--label", "status == 'chargeback'", "--out", str(out)])


def test_file_becomes_a_scorer(tmp_path: Path, payments: Callable[..., pd.DataFrame]) -> None:
    """One command makes a stranger's file a bundle, a report and a block, with its numbers printed."""
    payments().to_csv(tmp_path / "Pay.csv", index=False, sep=";")
    command = [sys.executable, "-m", "training.try_file", "--data", "Pay.csv", "--out", "out", "--time", "When"]
    done = subprocess.run(
        [*command, "--label", 'status == "chargeback"'],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for stage in STAGES:
        assert f"\n{stage}:\n" in done.stdout
    for said in ("When: read with the day first", "Payment ID: left out", "roc_auc", "build/bundles/pay"):
        assert said in done.stdout
    for made in ("build/bundles/pay/manifest.json", "reports/pay/card.html", "data/pay.parquet"):
        assert (tmp_path / "out" / made).is_file()
    assert declared_scorer("pay", tmp_path / "out" / "params.yaml").label == "label"
    metrics = json.loads((tmp_path / "out" / "reports" / "pay" / "metrics.json").read_text())
    assert metrics["roc_auc"] > 0.8
