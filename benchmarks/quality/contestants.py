"""The contestants of the race, each on the same rows: `make try`, AutoGluon, and XGBoost with its defaults."""

import hashlib
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from xgboost import XGBClassifier

from benchmarks.command import ROOT
from benchmarks.machine import CORES
from benchmarks.quality.race_sets import RacedSet
from benchmarks.quality.sets import AbsentError
from handler.scoring.scorer import Scorer, load_scorer
from handler.scoring.times import END_OF_TIMES
from training.batch.answers import answer_rows
from training.declaration import declared_scorer
from training.run.files import BUILD, BUNDLES
from training.run.matrix import Floats, Labels

AUTOML = ROOT / ".venv-automl"
CACHE = ROOT / BUILD / "benchmarks" / "race"
# AutoGluon's default, named because another version may have another default.
PRESETS = "medium_quality"
XGBOOST_ROUNDS = 300
LATENCY_ROWS = 50


@dataclass(frozen=True)
class Entry:
    """One contestant's scores of a set's test rows, and the time and space that they took."""

    scores: Floats
    facts: dict[str, Any]
    """Seconds and CPU seconds, bytes of the artifact, CPU seconds of one row; AutoGluon's models and limits too."""


def tried(name: str, raced_set: RacedSet, folder: Path, n_calls: int) -> tuple[Entry, Labels]:
    """The entry of `make try`, and the labels of its test window; raises SystemExit if it fails."""
    data, out = folder / f"race_{name}.parquet", folder / "try"
    raced_set.rows.to_parquet(data, index=False)
    options = {"data": data, "label": raced_set.label, "time": raced_set.time, "out": out}
    command = [sys.executable, "-m", "training.try_file", *(f"--{key}={value}" for key, value in options.items())]
    start, cpu_start = perf_counter(), cpu_seconds(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    times = {"seconds": perf_counter() - start, "cpu_seconds": cpu_seconds(resource.RUSAGE_CHILDREN) - cpu_start}
    if done.returncode:
        raise SystemExit(f"make try failed on {name}:\n{done.stdout}")
    (bundle,) = (out / BUNDLES).iterdir()
    scorer = load_scorer(bundle)
    test = pd.read_parquet(out / BUILD / bundle.name / "rows" / "test.parquet")
    # The rows' timestamps may be ahead of the clock.
    answered, rejected = answer_rows(scorer, test, now=END_OF_TIMES)
    if len(rejected):
        raise SystemExit(f"the bundle of {name} rejects {len(rejected)} of its test rows, such as: {rejected.iloc[0]}")
    facts = times | {
        "bytes": sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file()),
        "row_cpu_seconds": request_cpu_seconds(scorer, n_calls),
    }
    label = declared_scorer(bundle.name, out / "params.yaml").label
    return Entry(answered["fraud_probability"].to_numpy(), facts), test[label].to_numpy()


def request_cpu_seconds(scorer: Scorer, n_calls: int) -> float:
    """The median CPU time of checking and scoring one request."""

    def probability(request: dict[str, Any]) -> float:
        return scorer.score(scorer.request_model.model_validate(request)).probability

    return median_cpu_seconds(probability, [case["request"] for case in scorer.bundle.golden], n_calls)


def with_xgboost(train: pd.DataFrame, test: pd.DataFrame, label: str, n_calls: int) -> Entry:
    """The entry of XGBoost with its defaults except for 300 rounds and base_score 0.5; texts are ordinal-encoded."""
    numbers = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    columns = make_column_transformer((numbers, make_column_selector(dtype_exclude="number")), remainder="passthrough")
    model = XGBClassifier(n_estimators=XGBOOST_ROUNDS, base_score=0.5, n_jobs=len(CORES))
    pipeline = make_pipeline(columns, model)
    start, cpu_start = perf_counter(), cpu_seconds(resource.RUSAGE_SELF)
    pipeline.fit(train.drop(columns=label), train[label])
    times = {"seconds": perf_counter() - start, "cpu_seconds": cpu_seconds(resource.RUSAGE_SELF) - cpu_start}
    features = test.drop(columns=label)
    single_rows = [features.iloc[[place]] for place in range(min(LATENCY_ROWS, len(features)))]
    row_cpu_seconds = median_cpu_seconds(pipeline.predict_proba, single_rows, n_calls)
    scores = pipeline.predict_proba(features)[:, 1].astype(np.float64)
    return Entry(scores, times | {"bytes": pickled_bytes(pipeline), "row_cpu_seconds": row_cpu_seconds})


def pickled_bytes(pipeline: Pipeline) -> int:
    """The size of a pipeline as joblib writes it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.joblib"
        joblib.dump(pipeline, path)
        return path.stat().st_size


def with_autogluon(name: str, windows: Mapping[str, pd.DataFrame], label: str, seconds: int) -> Entry:
    """The entry of AutoGluon, trained for at most `seconds`; cached by its version, preset, time limit and rows.

    Raises AbsentError if its environment is absent, and SystemExit if it fails.
    """
    version = autogluon_version()
    with TemporaryDirectory() as temporary:
        files = {window: Path(temporary) / f"{window}.parquet" for window in windows}
        for window, rows in windows.items():
            rows.to_parquet(files[window], index=False)
        hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files.values()]
        identity = " ".join([version, PRESETS, str(seconds), *hashes])
        folder = CACHE / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        if not (folder / "facts.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        plan = {"folder": str(folder), "label": label, "presets": PRESETS, "seconds": seconds, "cores": len(CORES)}
        run_autogluon(plan | {window: str(path) for window, path in files.items()}, folder / "log.txt")
    facts: dict[str, Any] = {}
    for file in ("facts.json", "row.json"):
        facts |= json.loads((folder / file).read_text(encoding="utf-8"))
    return Entry(pd.read_parquet(folder / "scores.parquet")["score"].to_numpy(np.float64), facts)


def run_autogluon(plan: Mapping[str, Any], log: Path) -> None:
    """Run automl.py with a plan in AutoGluon's environment; raises SystemExit if it fails."""
    command = [AUTOML / "bin" / "python", Path(__file__).with_name("automl.py"), json.dumps(plan)]
    with log.open("a", encoding="utf-8") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise SystemExit(f"AutoGluon failed; its output is in {log}")


def autogluon_version() -> str:
    """The version of AutoGluon in its environment; raises AbsentError if there is none."""
    folders = [str(path) for path in AUTOML.glob("lib/python*/site-packages")]
    installed = list(distributions(name="autogluon.tabular", path=folders)) if folders else []
    if not installed:
        raise AbsentError(f"AutoGluon is not installed in {AUTOML}; `make bench-automl` installs it")
    return installed[0].version


def cpu_seconds(who: int) -> float:
    """The CPU time so far of this process, or of its ended children."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def median_cpu_seconds[T](call: Callable[[T], Any], arguments: Iterable[T], n_calls: int) -> float:
    """The median CPU time of a call with the arguments in turn; other processes do not add to it."""
    seconds = []
    for argument in islice(cycle(arguments), n_calls):
        start = process_time()
        call(argument)
        seconds.append(process_time() - start)
    return median(seconds)
