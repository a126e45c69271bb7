"""Every benchmark's command runs to its end in its smallest form, and the Makefile names only what exists."""

import importlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import command
from benchmarks.quality import contestants, steps
from benchmarks.quality.contestants import Entry, with_autogluon
from benchmarks.quality.race import compared, race_table, windows_of
from benchmarks.quality.race_sets import RacedSet, earlier_ratings
from benchmarks.quality.sets import FOLDER, PARAMS, AbsentError
from training.declaration import declared_scorer
from training.params import Model

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
# By what they need beyond the virtual environment and the trained bundles. `releases.swaps` runs in test_swaps.py.
COMMANDS = {
    "serving.speed": (ROOT / ".venv-sam", ROOT / ".venv-runtime"),
    "serving.footprint": (ROOT / ".venv-sam", ROOT / ".venv-runtime"),
    "serving.whatif": (),
    "serving.robustness": (),
    "serving.batch": (),
    "releases.gate": (),
    "history.request": (),
    "history.workers": (),
    "history.table": (),
    "history.training": (),
    "monitoring.alarms": (),
    "monitoring.control": (),
    "monitoring.recording": (),
    "monitoring.cost": (),
    "monitoring.backtests": (),
    "training.stages": (),
    "training.reader": (),
    "training.repro": (FOLDER / "handbook_simulated.parquet",),
    "quality.published": (),
    # Without .venv-automl, which only `make bench-automl` installs, AutoGluon is left out, and the run says so.
    "quality.race": (),
}


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("name", COMMANDS)
def test_every_benchmark_runs_to_its_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few calls and rows, in this process; no report is written."""
    if missing := [str(path) for path in COMMANDS[name] if not path.exists()]:
        pytest.skip(f"{', '.join(missing)} is absent; `make test` and BENCHMARK_DATA bring it")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(command, "write_json", lambda path, _: pytest.fail(f"{path} was written"))
    importlib.import_module(f"benchmarks.{name}").main(["--smallest"])


def test_every_command_is_tested() -> None:
    """These are the modules of benchmarks/ that take the common options."""
    commands = {
        ".".join(path.relative_to(ROOT / "benchmarks").with_suffix("").parts)
        for path in (ROOT / "benchmarks").rglob("*.py")
        if "options_of(" in path.read_text(encoding="utf-8") and path.stem != "command"
    }
    assert commands == {*COMMANDS, "releases.swaps"}


def test_every_module_of_the_makefile_exists() -> None:
    """`python -m` finds each, and every benchmark but serving.batch has a target."""
    modules = set(re.findall(r"\$\(PYTHON\) -m ([\w.]+)", MAKEFILE))
    assert all(importlib.util.find_spec(module) for module in modules)
    commands = {f"benchmarks.{name}" for name in (*COMMANDS, "releases.swaps") if name != "serving.batch"}
    assert commands <= modules


def test_the_smallest_run_records_nothing() -> None:
    """The two options exclude each other."""
    with pytest.raises(SystemExit):
        command.options_of("x", "", {}, ["--smallest", "--record"])


def test_a_budget_that_is_exceeded_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest run is exempt: its figures mean nothing, and none are kept."""
    sizes = {"turns": (3, 1)}
    full, smallest = (command.options_of("x", "", sizes, arguments) for arguments in ([], ["--smallest"]))
    assert (full.turns, smallest.turns) == (3, 1)
    written: list[Path] = []
    monkeypatch.setattr(command, "write_json", lambda path, _: written.append(path))
    command.keep("x", {}, smallest, ["16 µs"])
    assert not written
    command.keep("x", {}, full)
    with pytest.raises(SystemExit, match="OVER BUDGET: 16 µs"):
        command.keep("x", {}, full, ["16 µs"])
    assert written == [ROOT / "build" / "benchmarks" / "x.json"] * 2


def test_the_race_is_run_on_the_same_rows() -> None:
    """The other contestants get hour and weekday for the time; a test window other than the last rows is refused."""
    times = pd.to_datetime(["2026-11-28 10:00", "2026-11-28 23:59", "2026-11-29 00:00"])
    raced = RacedSet(pd.DataFrame({"at": times, "amount": [1.0, 2.0, 3.0], "bad": [0, 0, 1]}), "bad", "at")
    train, test = windows_of(raced, np.array([0, 1])).values()
    assert train.to_dict("list") == {"amount": [1.0], "bad": [0], "hour_of_day": [10], "day_of_week": [5]}
    assert test.to_dict("list") == {"amount": [2.0, 3.0], "bad": [0, 1], "hour_of_day": [23, 0], "day_of_week": [5, 6]}
    with pytest.raises(SystemExit, match="not the last rows of the file"):
        windows_of(raced, np.array([1, 0]))


def test_the_race_compares_the_contestants_row_by_row() -> None:
    """The first has no lead over a contestant with the same ranking, in any draw, and leads one that ranks worse."""
    label = np.arange(400) % 4 == 0
    score = label + np.random.default_rng(1).normal(size=400)
    facts = {"cpu_seconds": 90.0, "bytes": 2_000_000, "row_cpu_seconds": 16e-6}
    entries = {
        name: Entry(scores, facts) for name, scores in {"try": score, "autogluon": 2 * score, "xgboost": -score}.items()
    }
    content = compared(entries, label.astype(np.int8))
    same, worse = (content[name]["average_precision"] for name in ("autogluon", "xgboost"))
    assert (same["lead"], same["lead_interval"]) == (0.0, [0.0, 0.0])
    assert 0 < worse["lead_interval"][0] < worse["lead"] < worse["lead_interval"][1]
    rows = race_table({"ulb": {"contestants": content}}).splitlines()[2:]
    assert rows[0].startswith("| ULB | `make try` | 0.")
    assert rows[0].endswith(" | 90 s | 2 MB | 16 µs |")


def test_steps_are_measured_by_the_declared_entity(monkeypatch: pytest.MonkeyPatch) -> None:
    """The intervals of the handbook's steps resample customers with all of their rows."""
    scorer = declared_scorer("handbook", PARAMS)
    rows = pd.DataFrame(
        {scorer.time: np.arange(8) * 1e6, scorer.label: [0, 1] * 4, str(scorer.entity): list("aabbccdd")}
    )
    scored = SimpleNamespace(probability=np.zeros(8), label=rows[scorer.label].to_numpy())
    model = SimpleNamespace(window=rows, threshold=0.5, scored=lambda *_: scored)
    measured: list[Any] = []

    def measure(evaluation: Any, **_: Any) -> Any:  # noqa: ANN401 - a stand-in
        measured.append(evaluation.groups.tolist())
        return dict.fromkeys(steps.METRICS, 0.0), dict.fromkeys(steps.METRICS, (0.0, 0.0)), None

    monkeypatch.setattr(steps, "checked_set", lambda *_: (scorer, rows))
    monkeypatch.setattr(steps, "steps_of", lambda *_: [("one", scorer, Model())])
    monkeypatch.setattr(steps, "model_at", lambda *_: model)
    monkeypatch.setattr(steps, "measure", measure)
    steps.steps("handbook", 1, 1)
    assert measured == [[0, 0, 1, 1, 2, 2, 3, 3]]


def test_a_rating_knows_the_earlier_ones_only() -> None:
    """A trader's history has the ratings that the trader received before, and none that the trader gave."""
    ratings = pd.DataFrame({"source": [1, 2, 3, 2], "target": [2, 3, 2, 1], "rating": [5, -10, -1, 3]})
    history = earlier_ratings(ratings, "target", "target")
    assert history["n"].tolist() == [0, 0, 1, 0]
    assert history.loc[2, ["mean", "bad_share"]].tolist() == [5.0, 0.0]
    assert history.loc[[0, 1, 3], ["mean", "bad_share"]].isna().all(axis=None)
    assert earlier_ratings(ratings, "source", "target")["n"].tolist() == [0, 1, 1, 2]


def test_the_race_says_how_to_install_autogluon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is too large for the environment of the tests."""
    monkeypatch.setattr(contestants, "AUTOML", tmp_path)
    with pytest.raises(AbsentError, match="AutoGluon is not installed in "):
        with_autogluon("ulb", {}, "Class", 1)
