"""How often the monitor cries wolf, what it notices, and after how many requests. `make alarms`.

Logs are made of the shipped scorers' calibration rows before the planted fraud begins, drawn anew for each window, so
that nothing drifts in them but what is made to. Then the rows as they really came, with the pattern that begins late.
"""

import argparse
from collections import Counter
from statistics import median_low
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.changes import CHANGES, Changed
from benchmarks.machine import machine
from benchmarks.scene import Scene, drawn, log_of, scene_of, states
from benchmarks.served import ROOT
from training.intake.synthetic.population import LATE_PATTERN_DAY
from training.monitoring.log import Log
from training.params import SECONDS_A_DAY
from training.run.files import BUILD, BUNDLES, REPORTS, write_json

RESULT = BUILD / "benchmarks" / "alarms.json"
RECORDED = REPORTS / "alarms.json"
WINDOWS = 200
# Of each change: enough to tell what is always noticed from what chance decides.
DRAWS = 20
# Blocks of a window: with two in a row to agree, three chances of a false alarm.
N_BLOCKS = 4
MOST_BLOCKS = 12
# The share of false alarms that the issue of monitoring allows.
ALLOWED = {"retrain": 0.01, "watch": 0.05}
ORDER = ("ok", "watch", "retrain")


def false_alarms(scene: Scene, steady: Log, windows: int) -> dict[str, float]:
    """The share of windows without drift that end in watch, and in retrain."""
    n, rng, found = N_BLOCKS * scene.a_block, np.random.default_rng(7), Counter[str]()
    for _ in tqdm(range(windows), unit="window"):
        found[states(scene, drawn(scene, steady, rng.integers(0, len(steady.time), n)))[-1]] += 1
    return {level: found[level] / windows for level in ALLOWED}


def power(scene: Scene, steady: Log, draws: int) -> dict[str, dict[str, Any]]:
    """Per change what several draws of it lead to."""
    return {what: noticed(scene, change(scene, steady), draws) for what, change in tqdm(CHANGES.items(), unit="change")}


def noticed(scene: Scene, changed: Changed, draws: int) -> dict[str, Any]:
    """The worst state that a draw leads to, how many draws do, and after how many requests: the median of these."""
    share, n = changed.weight / changed.weight.sum(), MOST_BLOCKS * scene.a_block
    seen = []
    for seed in range(draws):
        index = np.random.default_rng(seed).choice(len(share), n, p=share)
        seen.append(states(scene, drawn(scene, changed.log, index)))
    worst = max((state for one in seen for state in one), key=ORDER.index)
    requests = [(one.index(worst) + 1) * scene.a_block for one in seen if worst in one]
    is_seen = worst != "ok"
    return {"state": worst, "draws": len(requests), "requests": median_low(requests) if is_seen else None}


def planted(scene: Scene, whole: Log) -> dict[str, Any]:
    """How many days after the planted fraud began each state was first reached, and how many were left."""
    begins = scene.began + LATE_PATTERN_DAY * SECONDS_A_DAY
    ends = whole.time[0] + np.arange(1, MOST_BLOCKS + 1) * scene.declared.monitoring.block_days * SECONDS_A_DAY
    days: dict[str, Any] = {"watch": None, "retrain": None, "left": round((whole.time[-1] - begins) / SECONDS_A_DAY)}
    # The last block is not a whole one.
    for end, state in zip(ends.clip(max=whole.time[-1]), states(scene, whole), strict=False):
        for level in ORDER[1 : ORDER.index(state) + 1]:
            if days[level] is None:
                days[level] = round(float(end - begins) / SECONDS_A_DAY, 1)
    return days


def measure(name: str, windows: int, draws: int) -> dict[str, Any]:
    """All of a shipped scorer."""
    scene = scene_of(name)
    whole = log_of(scene, scene.rows)
    steady = drawn(scene, whole, np.arange(len(scene.steady)))
    return {
        "false_alarms": false_alarms(scene, steady, windows),
        "changes": power(scene, steady, draws),
        "planted_days": planted(scene, whole),
    }


def main() -> None:
    """Run all, print it, and end with an error where there are too many false alarms."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alarms", description=__doc__)
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--record", action="store_true", help=f"keep the results in {RECORDED}, for the README")
    asked = parser.parse_args()
    found: dict[str, Any] = {"machine": machine(), "windows": asked.windows, "draws": asked.draws}
    names = [path.name for path in sorted((ROOT / BUNDLES).iterdir())]
    for name in names:
        found[name] = measure(name, asked.windows, asked.draws)
        print(name, found[name])
    write_json(RESULT, found)
    if asked.record:
        write_json(RECORDED, found)
    for name in names:
        for level, share in found[name]["false_alarms"].items():
            if share > ALLOWED[level]:
                raise SystemExit(f"{name}: {share:.1%} of windows without drift end in {level}")


if __name__ == "__main__":
    main()
