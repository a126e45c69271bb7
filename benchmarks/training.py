"""How long the stages take, and how much memory, as the rows become more: `make bench-training`.

Rows of the shipped transactions, drawn again under new ids until there are enough, with seven more numbers, which makes
sixteen features; the windows are the declared ones. Each stage runs as `dvc repro` runs it, as a process of its own,
but for train, whose steps are told apart. Beside them, in the same run, a bare `xgboost.train` of the same parameters
and threads on the matrix that it learned from.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from benchmarks.machine import machine
from benchmarks.readme_table import table
from benchmarks.served import ROOT
from benchmarks.steps import steps_of
from training.declaration import declared_scorer
from training.intake.synthetic.population import START
from training.run.files import BUILD, BUNDLES, write_json

RECORDED = ROOT / "reports" / "training.json"
SCORER = "transaction"
TRAIN = ("features", "resampling", "fit")
ROWS = (100_000, 1_000_000, 10_000_000)
GROUP = 100_000
DAYS = 365
MORE = tuple(f"more_{number}" for number in range(1, 8))
MAX_RATIO, MAX_EXPONENT, MAX_GB = 1.6, 1.05, 6.0
BEGINS = r"begins (.*)"

Measured = dict[int, dict[str, dict[str, float]]]


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


def measure(n_rows: int) -> dict[str, dict[str, float]]:
    """Each step's seconds and memory for so many rows, and the bare fit's."""
    found: dict[str, dict[str, float]] = {}

    def take(first: str, *command: str) -> None:
        for step, taken in steps_of(folder, first, BEGINS, *command).items():
            found[step] = taken
            print(f"{n_rows:,} rows, {step}: {taken['seconds']:.1f} s, {taken['GB']:.2f} GB", flush=True)

    with TemporaryDirectory(dir=ROOT / BUILD) as name:
        folder = Path(name)
        (folder / "data").mkdir()
        declare(folder / "params.yaml")
        rows = folder / declared_scorer(SCORER, ROOT / "params.yaml").data
        write_rows(rows, n_rows)
        built = folder / BUILD / SCORER
        built.mkdir(parents=True)
        (built / "tuned.json").write_bytes((ROOT / BUILD / SCORER / "tuned.json").read_bytes())
        shutil.copytree(ROOT / BUNDLES / SCORER, folder / BUNDLES / SCORER)
        take("prepare", sys.executable, "-m", "training.prepare", SCORER)
        take("", sys.executable, "-m", "benchmarks.training_steps", "train", SCORER)
        take("", sys.executable, "-m", "benchmarks.training_steps", "bare", SCORER)
        for stage in ("calibrate", "baseline"):
            take(stage, sys.executable, "-m", f"training.{stage}", SCORER)
        take("score", sys.executable, "-m", "training.score", SCORER, str(rows), str(folder / "scored.parquet"))
    return found


def exponents(found: Measured, steps: tuple[str, ...]) -> tuple[float, float]:
    """By which power of the rows the time of some steps together grows.

    By least squares over all numbers of rows, and between the two largest.
    """
    rows, seconds = np.log(list(found)), np.log([_taken(of, steps)[0] for of in found.values()])
    return float(np.polyfit(rows, seconds, 1)[0]), float(np.diff(seconds[-2:])[0] / np.diff(rows[-2:])[0])


def _taken(of: dict[str, dict[str, float]], steps: tuple[str, ...]) -> tuple[float, float]:
    """The seconds of some steps together, and the most memory of one."""
    return sum(of[step]["seconds"] for step in steps), max(of[step]["GB"] for step in steps)


def shown(found: Measured) -> str:
    """What was measured, as a table."""
    names = {step: (step,) for step in next(iter(found.values()))}
    lines = {**names, "features, resampling and fit": TRAIN}
    rows = []
    for name, steps in lines.items():
        cells = [
            f"{seconds:,.1f} s, {memory:.2f} GB" for seconds, memory in (_taken(of, steps) for of in found.values())
        ]
        grown = [f"{one:.2f}" for one in exponents(found, steps)] if len(found) > 1 else ["", ""]
        rows.append([name, *cells, *grown])
    ratios = [f"{_taken(of, TRAIN)[0] / of['bare fit']['seconds']:.2f} x" for of in found.values()]
    rows.append(["of the bare fit", *ratios, "", ""])
    head = [f"{n_rows:,} rows" for n_rows in found]
    return table(["step", *head, "exponent", "of the last step"], rows)


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--record", action="store_true", help="keep the results, for the README")
    asked = parser.parse_args()
    found = {n_rows: measure(n_rows) for n_rows in sorted(asked.rows)}
    print(shown(found))
    print(f"budgets: {MAX_RATIO:g} times the bare fit, {MAX_GB:g} GB, exponent {MAX_EXPONENT:g}")
    if asked.record:
        before = json.loads(RECORDED.read_text())["rows"] if RECORDED.exists() else {}
        kept = {int(n_rows): of for n_rows, of in before.items()} | found
        write_json(RECORDED, {"machine": machine(), "rows": dict(sorted(kept.items()))})


if __name__ == "__main__":
    main()
