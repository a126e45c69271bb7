"""How long the stages take, and how much memory, as the rows become more: `make bench-training`.

Rows of the shipped transactions, drawn again under new ids until there are enough, with seven more numbers, which makes
sixteen features. Each stage runs as `dvc repro` runs
it, as a process of its own; beside them a bare `xgboost.train`, of the same parameters and threads, on the matrix that
the train stage learned from. Times are whole processes; memory is that of the process and all that it started, what
they share counted once.
"""

import argparse
import os
import subprocess
import sys
from itertools import pairwise
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from benchmarks.machine import machine
from benchmarks.monitoring import family_mb
from benchmarks.readme_table import table
from benchmarks.served import ROOT
from training.declaration import declared_scorer
from training.files import BUILD, write_json
from training.synthetic_population import START

RESULT = BUILD / "benchmarks" / "training.json"
SCORER = "transaction"
STAGES = ("prepare", "train", "calibrate", "baseline")
ROWS = (100_000, 1_000_000, 10_000_000)
GROUP = 100_000
DAYS = 365
MORE = tuple(f"more_{number}" for number in range(1, 8))
MAX_RATIO, MAX_EXPONENT, MAX_GB = 1.6, 1.05, 6.0
SAMPLE_SECONDS = 0.05
_BARE = """
import sys, numpy as np, xgboost as xgb
from pathlib import Path
from training.declaration import declared_scorer
from training.settings import Model
from training.train import build_model
name, folder = sys.argv[1], Path(sys.argv[2])
model = Model.model_validate_json((folder / "tuned.json").read_bytes())
scorer = declared_scorer(name)
unfitted = build_model(model, scorer.contract, seed=scorer.seed)
rows, label = np.load(folder / "matrix.npy"), np.load(folder / "label.npy")
parameters = {key: value for key, value in unfitted.get_xgb_params().items() if value is not None}
types = parameters.pop("feature_types", unfitted.feature_types)
data = xgb.QuantileDMatrix(rows, label, feature_types=types, enable_categorical=True, max_bin=model.max_bin)
xgb.train(parameters, data, num_boost_round=model.rounds)
"""
_MATRIX = """
import sys, joblib, numpy as np, pandas as pd
from pathlib import Path
from training.declaration import declared_scorer
name, folder = sys.argv[1], Path(sys.argv[2])
pipeline = joblib.load(folder / "pipeline.joblib")
rows = pd.read_parquet(folder / "rows" / "train.parquet")
label = rows[declared_scorer(name).label].to_numpy()
matrix, label = pipeline[1].fit_resample(pipeline[0].transform(rows), label)
np.save(folder / "matrix.npy", matrix)
np.save(folder / "label.npy", label)
"""


def write_rows(path: Path, n_rows: int) -> None:
    """So many rows, in order of time over a year, as a Parquet file that was written bit by bit."""
    scorer = declared_scorer(SCORER, ROOT / "params.yaml")
    source = pq.read_table(ROOT / scorer.data)
    rng = np.random.default_rng(3)
    schema = source.schema
    for name in MORE:
        schema = schema.append(pa.field(name, pa.float64()))
    with pq.ParquetWriter(path, schema, compression="zstd", store_schema=False) as writer:
        for start in range(0, n_rows, GROUP):
            n = min(GROUP, n_rows - start)
            drawn = source.take(pa.array(rng.integers(0, len(source), n)))
            seconds = (np.arange(start, start + n) / n_rows * DAYS * 86_400 * 1e6).astype("timedelta64[us]")
            columns = {scorer.id: [f"r{number}" for number in range(start, start + n)], scorer.time: START + seconds}
            for name, values in columns.items():
                place = drawn.schema.get_field_index(str(name))
                drawn = drawn.set_column(place, drawn.field(place), pa.array(values).cast(drawn.field(place).type))
            for name in MORE:
                drawn = drawn.append_column(schema.field(name), pa.array(rng.lognormal(3, 1, n)))
            writer.write_table(drawn)


def declare(path: Path) -> None:
    """A declaration of the shipped scorer with the further numbers."""
    yaml = YAML(typ="safe", pure=True)
    scorer = yaml.load(ROOT / "params.yaml")["scorers"][SCORER]
    scorer["fields"] |= {name: {"type": "number"} for name in MORE}
    yaml.dump({"scorers": {SCORER: scorer}}, path)


def measured(folder: Path, *command: str) -> dict[str, float]:
    """The seconds of a process, and the most memory seen of it and its children, in GB."""
    start, most = perf_counter(), 0.0
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, *command], cwd=folder, env=environment, stdout=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            most = max(most, family_mb(process.pid))
            sleep(SAMPLE_SECONDS)
        seconds = perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)[:100]} ended with {process.returncode}; its message is above")
    return {"seconds": seconds, "GB": most / 1000}


def measure(n_rows: int) -> dict[str, dict[str, float]]:
    """Each stage's seconds and memory for so many rows, and the bare fit's."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        declare(folder / "params.yaml")
        write_rows(folder / declared_scorer(SCORER, ROOT / "params.yaml").data, n_rows)
        built = folder / BUILD / SCORER
        built.mkdir(parents=True)
        (built / "tuned.json").write_bytes((ROOT / BUILD / SCORER / "tuned.json").read_bytes())
        found = {}
        for stage in STAGES:
            found[stage] = measured(folder, "-m", f"training.{stage}", SCORER)
            print(f"{n_rows:,} rows, {stage}: {found[stage]['seconds']:.1f} s, {found[stage]['GB']:.2f} GB", flush=True)
        measured(folder, "-c", _MATRIX, SCORER, str(built))
        found["bare fit"] = measured(folder, "-c", _BARE, SCORER, str(built))
    return found


def exponent(found: dict[int, dict[str, dict[str, float]]], what: str) -> float | None:
    """By which power of the rows a time grows, between the two largest numbers of them; None where there is one."""
    pairs = list(pairwise(sorted(found)))
    if not pairs:
        return None
    few, many = pairs[-1]
    return log(found[many][what]["seconds"] / found[few][what]["seconds"]) / log(many / few)


def shown(found: dict[int, dict[str, dict[str, float]]]) -> str:
    """What was measured, as a table."""
    steps = list(next(iter(found.values())))
    rows = []
    for step in steps:
        grows = exponent(found, step)
        cells = [f"{of[step]['seconds']:.1f} s, {of[step]['GB']:.2f} GB" for of in found.values()]
        rows.append([step, *cells, "" if grows is None else f"{grows:.2f}"])
    ratios = [f"{of['train']['seconds'] / of['bare fit']['seconds']:.2f}" for of in found.values()]
    rows.append([f"train / bare fit (budget {MAX_RATIO:g})", *ratios, ""])
    return table(
        [
            f"stage (budget {MAX_GB:g} GB)",
            *(f"{n_rows:,} rows" for n_rows in found),
            f"exponent (budget {MAX_EXPONENT:g})",
        ],
        rows,
    )


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    asked = parser.parse_args()
    found = {n_rows: measure(n_rows) for n_rows in sorted(asked.rows)}
    print(shown(found))
    write_json(RESULT, {"machine": machine(), "rows": found})


if __name__ == "__main__":
    main()
