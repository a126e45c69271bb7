"""How often the monitor cries wolf, what it notices, and after how many requests. `make alarms`.

Logs are made of the shipped scorers' calibration rows before the planted fraud begins, drawn anew for each window, so
that nothing drifts in them but what is made to. Then the rows as they really came, with the pattern that begins late.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from benchmarks.machine import machine
from benchmarks.served import ROOT
from handler.scorer import Scorer, load_scorer
from training.blocks import blocks_of, join_outcomes
from training.declaration import Scorer as Declaration
from training.declaration import declared_scorer
from training.files import BUILD, BUNDLES, REPORTS, write_json
from training.package import requests_of
from training.records import Binning, Log
from training.settings import SECONDS_A_DAY
from training.synthetic_population import LATE_PATTERN_DAY
from training.verdict import judge_block, settle

RESULT = BUILD / "benchmarks" / "alarms.json"
RECORDED = REPORTS / "alarms.json"
WINDOWS = 200
# Blocks of a window: with two in a row to agree, three chances of a false alarm.
N_BLOCKS = 4
MOST_BLOCKS = 12
CHUNK = 1000
# Before it: the transaction rows get a new chain on day 140, both their late fraud on day 150.
STEADY_UNTIL_DAY = 140
# The share of false alarms that the issue of monitoring allows.
ALLOWED = {"retrain": 0.01, "watch": 0.05}
ORDER = ("ok", "watch", "retrain")


@dataclass(frozen=True)
class Scene:
    """A scorer, its declaration, and labelled rows without drift."""

    scorer: Scorer
    declared: Declaration
    rows: pd.DataFrame
    a_day: int
    """How many requests come in a day."""


def scene_of(name: str) -> Scene:
    """The scene of a shipped scorer."""
    declared = declared_scorer(name, ROOT / "params.yaml")
    folder = ROOT / BUILD / name / "rows"
    rows = pd.concat([pd.read_parquet(folder / f"{window}.parquet") for window in ("calibrate", "test")])
    first = pd.read_parquet(folder / "train.parquet", columns=[declared.time])[declared.time].min()
    day = (rows[declared.time] - first) / SECONDS_A_DAY
    steady = rows[day < STEADY_UNTIL_DAY].reset_index(drop=True)
    a_day = round(len(rows) / (day.max() - day.min()))
    return Scene(load_scorer(ROOT / BUNDLES / name), declared, steady, a_day)


def log_of(scene: Scene, rows: pd.DataFrame, seconds: npt.NDArray[np.float64]) -> Log:
    """The log of rows that come at these times, each with its outcome."""
    scorer, binning = scene.scorer, Binning(scene.scorer.bundle.baseline["features"])
    requests = [scorer.request_model.model_validate(request) for request in requests_of(rows, scorer.contract)]
    scored = [one for at in range(0, len(requests), CHUNK) for one in scorer.scores(requests[at : at + CHUNK])]
    columns = {
        name: [scorer.shown(index, one.vector[index]) for one in scored]
        for index, name in enumerate(scorer.bundle.features.names)
    }
    n = len(scored)
    ids = np.arange(1, n + 1, dtype=np.uint64)
    return Log(
        time=seconds,
        probability=np.array([one.probability for one in scored]),
        flagged=np.array([one.is_flagged for one in scored]),
        n_warnings=np.zeros(n, dtype=np.uint8),
        milliseconds=np.zeros(n),
        weight=np.ones(n),
        id=ids,
        version=np.zeros(n, dtype=np.intp),
        bins=np.stack([binning.bins(name, values) for name, values in columns.items()], axis=1),
        versions=[scorer.version],
        outcome_time=seconds,
        outcome_id=ids,
        outcome_label=rows[scene.declared.label].to_numpy(np.int8),
        counts={},
    )


def drawn(log: Log, index: npt.NDArray[np.intp], seconds: npt.NDArray[np.float64]) -> Log:
    """The log of some of its predictions, at other times."""
    ids = np.arange(1, len(index) + 1, dtype=np.uint64)
    columns = ("probability", "flagged", "n_warnings", "milliseconds", "weight", "version", "bins")
    kept = {name: getattr(log, name)[index] for name in columns}
    labels = log.outcome_label[index]
    return replace(log, **kept, time=seconds, id=ids, outcome_time=seconds, outcome_id=ids, outcome_label=labels)


def states(scene: Scene, log: Log) -> list[str]:
    """The state after each block."""
    policy = scene.declared.monitoring
    label = join_outcomes(log, policy, scene.declared.split.label_delay_days).label
    blocks = blocks_of(log, label, scene.scorer.bundle.baseline, policy, scene.scorer.threshold)
    verdicts = [judge_block(block, policy) for block in blocks]
    return [settle(verdicts[:end], policy) for end in range(1, len(verdicts) + 1)]


def _moments(scene: Scene, n: int) -> npt.NDArray[np.float64]:
    return np.arange(n) * (SECONDS_A_DAY / scene.a_day)


def _rows_a_block(scene: Scene) -> int:
    return round(scene.a_day * scene.declared.monitoring.block_days)


def false_alarms(scene: Scene, windows: int) -> dict[str, float]:
    """The share of windows without drift that end in watch, and in retrain."""
    log = log_of(scene, scene.rows, _moments(scene, len(scene.rows)))
    n, rng, found = N_BLOCKS * _rows_a_block(scene), np.random.default_rng(7), Counter[str]()
    for _ in tqdm(range(windows), unit="window"):
        found[states(scene, drawn(log, rng.integers(0, len(scene.rows), n), _moments(scene, n)))[-1]] += 1
    return {level: found[level] / windows for level in ALLOWED}


def _scaled(rows: pd.DataFrame, scene: Scene, _rng: np.random.Generator) -> pd.DataFrame:
    name = scene.declared.costs.amount if scene.declared.costs else scene.declared.label
    return rows.assign(**{name: (rows[name] * 1.3).round(2)})


def _shifted(rows: pd.DataFrame, _scene: Scene, rng: np.random.Generator) -> pd.DataFrame:
    """Four times the weight for requests of one chain, or for items of one category."""
    if "chain" in rows:
        is_it = rows["chain"] == "TRON"
    else:
        catalogue = pd.read_csv(ROOT / BUILD / "refund" / "rows" / "catalogue.csv")
        is_it = rows["item"].isin(catalogue.loc[catalogue["category"] == "Electronics", "name"])
    weight = np.where(is_it, 4.0, 1.0)
    return rows.iloc[rng.choice(len(rows), len(rows), p=weight / weight.sum())]


def _doubled(rows: pd.DataFrame, scene: Scene, rng: np.random.Generator) -> pd.DataFrame:
    weight = np.where(rows[scene.declared.label] == 1, 2.0, 1.0)
    return rows.iloc[rng.choice(len(rows), len(rows), p=weight / weight.sum())]


def _broken(rows: pd.DataFrame, _scene: Scene, _rng: np.random.Generator) -> pd.DataFrame:
    name = "address_age_days" if "address_age_days" in rows else "refunds"
    return rows.assign(**{name: np.nan})


def _rewired(rows: pd.DataFrame, scene: Scene, rng: np.random.Generator) -> pd.DataFrame:
    label = scene.declared.label
    return rows.assign(**{label: rng.permutation(rows[label].to_numpy())})


CHANGES: Mapping[str, Callable[[pd.DataFrame, Scene, np.random.Generator], pd.DataFrame]] = {
    "the amount times 1.3": _scaled,
    "one category four times as frequent": _shifted,
    "twice as many frauds": _doubled,
    "a field that is always missing": _broken,
    "labels rewired, features unchanged": _rewired,
}


def power(scene: Scene) -> dict[str, dict[str, Any]]:
    """Per change the worst state that it leads to, and after how many changed requests."""
    found = {}
    for what, change in tqdm(CHANGES.items(), unit="change"):
        rng, n = np.random.default_rng(11), MOST_BLOCKS * _rows_a_block(scene)
        rows = scene.rows.iloc[rng.integers(0, len(scene.rows), n)].reset_index(drop=True)
        seen = states(scene, log_of(scene, change(rows, scene, rng).reset_index(drop=True), _moments(scene, n)))
        worst = max(seen, key=ORDER.index)
        after = (seen.index(worst) + 1) * _rows_a_block(scene) if worst != "ok" else None
        found[what] = {"state": worst, "requests": after}
    return found


def planted(name: str, scene: Scene) -> dict[str, Any]:
    """How many days after the planted fraud began each state was first reached, outcomes known at once."""
    folder = ROOT / BUILD / name / "rows"
    rows = pd.concat([pd.read_parquet(folder / f"{window}.parquet") for window in ("calibrate", "test")])
    rows = rows.sort_values(scene.declared.time, kind="stable").reset_index(drop=True)
    first = pd.read_parquet(folder / "train.parquet", columns=[scene.declared.time])[scene.declared.time].min()
    log = log_of(scene, rows, rows[scene.declared.time].to_numpy(np.float64))
    begins = first + LATE_PATTERN_DAY * SECONDS_A_DAY
    ends = log.time[0] + np.arange(1, MOST_BLOCKS + 1) * scene.declared.monitoring.block_days * SECONDS_A_DAY
    days: dict[str, Any] = {"watch": None, "retrain": None}
    for end, state in zip(ends, states(scene, log), strict=False):
        for level in ORDER[1 : ORDER.index(state) + 1]:
            if days[level] is None:
                days[level] = round(float(end - begins) / SECONDS_A_DAY, 1)
    return days


def main() -> None:
    """Run all, print it, and end with an error where there are too many false alarms."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alarms", description=__doc__)
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--record", action="store_true", help=f"keep the results in {RECORDED}, for the README")
    asked = parser.parse_args()
    found: dict[str, Any] = {"machine": machine(), "windows": asked.windows}
    for path in sorted((ROOT / BUNDLES).iterdir()):
        scene = scene_of(path.name)
        found[path.name] = {
            "false_alarms": false_alarms(scene, asked.windows),
            "changes": power(scene),
            "planted_days": planted(path.name, scene),
        }
        print(path.name, found[path.name])
    write_json(RESULT, found)
    if asked.record:
        write_json(RECORDED, found)
    for path in sorted((ROOT / BUNDLES).iterdir()):
        for level, share in found[path.name]["false_alarms"].items():
            if share > ALLOWED[level]:
                raise SystemExit(f"{path.name}: {share:.1%} of windows without drift end in {level}")


if __name__ == "__main__":
    main()
