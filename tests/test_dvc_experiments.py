"""DVC's experiments on the project's own stages, whose reports are in Git: run at once, queued, shown, applied."""

import csv
import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.test_loop import PARAMS, rows_from

PROJECT = Path(__file__).parents[1]
PAGE = (PROJECT / "docs" / "data.md").read_text(encoding="utf-8")
REPORT = Path("reports", "small", "rows.json")
TEST_DAYS = "scorers.small.split.test_days"


def run(*command: str) -> str:
    """What a command prints in the working folder; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def n_test_rows() -> int:
    """How many rows the report of the working folder counts in the test window."""
    report: dict[str, Any] = json.loads(REPORT.read_text())
    return int(report["windows"]["test"]["rows"])


@pytest.fixture(scope="module")
def committed(checkout: Path) -> Iterator[int]:
    """Make the working folder a repository of one scorer and its first stage; yields the rows of its test window."""
    yaml = YAML()
    pipeline = yaml.load(checkout / "dvc.yaml")
    pipeline["stages"] = {"prepare": pipeline["stages"]["prepare"]}
    yaml.dump(pipeline, checkout / "dvc.yaml")
    (checkout / "params.yaml").write_text(PARAMS)
    (checkout / ".gitignore").write_text("__pycache__/\n")
    rows_from(0, 60, is_new=False, seed=1).to_parquet(checkout / "data" / "rows.parquet", index=False)
    with pytest.MonkeyPatch.context() as here:
        here.chdir(checkout)
        for person in ("AUTHOR", "COMMITTER"):
            here.setenv(f"GIT_{person}_NAME", "Ada Example")
            here.setenv(f"GIT_{person}_EMAIL", "ada@example.com")
        run("git", "init", "--quiet")
        for arguments in (("init",), ("add", "data"), ("repro",)):
            run("dvc", *arguments, "--quiet")
        run("git", "add", ".")
        run("git", "commit", "--quiet", "--message", "Prepared")
        yield n_test_rows()


@pytest.fixture
def _taken_back(committed: int) -> Iterator[None]:
    """After each test Git and DVC restore what the commit has."""
    yield
    run("git", "restore", ".")
    run("dvc", "checkout", "--quiet")
    assert n_test_rows() == committed


@pytest.mark.usefixtures("_taken_back")
def test_an_experiment_is_ready_to_commit(committed: int) -> None:
    """The parameter, the lock and the report in the working folder are the experiment's, and agree."""
    run("dvc", "exp", "run", "--name", "longer", "--set-param", f"{TEST_DAYS}=20")
    assert n_test_rows() > committed
    assert run("git", "diff", "--name-only").split() == ["dvc.lock", "params.yaml", str(REPORT)]
    assert "up to date" in run("dvc", "status")


@pytest.mark.usefixtures("_taken_back")
def test_a_queued_experiment_leaves_the_working_folder_alone(committed: int) -> None:
    """It runs in a copy of the commit, is listed with its parameter, and brings its report when it is applied."""
    run("dvc", "exp", "run", "--queue", "--name", "shorter", "--set-param", f"{TEST_DAYS}=5")
    run("dvc", "exp", "run", "--run-all")
    assert (run("git", "status", "--porcelain"), n_test_rows()) == ("", committed)
    listed = csv.DictReader(io.StringIO(run("dvc", "exp", "show", "--csv")))
    assert {row["Experiment"]: row[TEST_DAYS] for row in listed}["shorter"] == "5"
    run("dvc", "exp", "apply", "shorter")
    assert n_test_rows() < committed


def test_the_shown_experiment_is_one_of_the_shipped_model() -> None:
    """The page shows the committed metrics beside an experiment's, which must be run again if the model has changed."""
    shown = re.findall(
        r"^reports/transaction/metrics\.json  (\w+) +([\d.]+) +([\d.]+) +(-?[\d.]+)$", PAGE, re.MULTILINE
    )
    metrics = json.loads((PROJECT / "reports" / "transaction" / "metrics.json").read_text())
    assert {"recall", "precision", "alert_rate"} <= {name for name, *_ in shown}
    assert {name: float(head) for name, head, *_ in shown} == {name: round(metrics[name], 5) for name, *_ in shown}
    assert all(float(other) - float(head) == pytest.approx(float(change), abs=2e-5) for _, head, other, change in shown)
