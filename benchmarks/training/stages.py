"""How the stages' time and memory grow with the number of rows: `make bench-training`.

The rows are shipped transactions, drawn again under new ids, with seven further numbers, which makes 23 features; the
windows are the declared ones, and one for calibration. Each stage runs as `dvc repro` runs it, in a process of its own,
except train, whose steps are measured one by one. For comparison, the same run measures a bare `xgboost.train` with the
same parameters and threads on the matrix that train learned from.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from benchmarks.command import REPORTS, ROOT, keep, options_of
from benchmarks.machine import machine
from benchmarks.tables import date_of, report, table
from benchmarks.training.step_times import step_times
from training.declaration import declared_scorer
from training.intake.synthetic.draws import START
from training.run.files import BUILD, BUNDLES

SCORER = "transaction"
TRAIN = ("features", "resampling", "fit")
# The largest number of rows; the others are a tenth and a hundredth of it.
SIZES = {"rows": (10_000_000, 10_000), "row_counts": (3, 1)}
ROW_GROUP = 100_000
DAYS = 365
MORE = tuple(f"more_{number}" for number in range(1, 8))

Measured = dict[int, dict[str, dict[str, float]]]


def write_rows(path: Path, n_rows: int) -> None:
    """Write a Parquet file of `n_rows` rows, in order of time over a year, one row group after the other."""
    scorer = declared_scorer(SCORER, ROOT / "params.yaml")
    source = pq.read_table(ROOT / scorer.data)
    rng = np.random.default_rng(3)
    schema = source.schema
    for name in MORE:
        schema = schema.append(pa.field(name, pa.float64()))
    with pq.ParquetWriter(path, schema, compression="zstd", store_schema=False) as writer:
        for start in range(0, n_rows, ROW_GROUP):
            n = min(ROW_GROUP, n_rows - start)
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
    """Write a declaration of the shipped scorer with the further numbers, and with a calibration window of its own.

    Such a window is the advice for very many rows, because it saves training the blocks' models.
    """
    yaml = YAML(typ="safe", pure=True)
    scorer = yaml.load(ROOT / "params.yaml")["scorers"][SCORER]
    # The smallest number of rows has too few frauds for the declared precision and its confidence.
    scorer["decision"] = {"recall": 0.9}
    # Without a threshold for blocking, the cost of an insult does not apply.
    scorer["costs"].pop("insult", None)
    scorer["fields"] |= {name: {"type": "number"} for name in MORE}
    scorer["split"]["calibrate_days"] = scorer["split"]["test_days"]
    yaml.dump({"scorers": {SCORER: scorer}}, path)


def measure(n_rows: int) -> dict[str, dict[str, float]]:
    """Each step's seconds and memory for `n_rows` rows, including those of the bare fit."""
    steps: dict[str, dict[str, float]] = {}

    def run(first: str, *command: str) -> None:
        for step, taken in step_times(folder, first, sys.executable, "-m", *command).items():
            steps[step] = taken
            print(f"{n_rows:,} rows, {step}: {taken['seconds']:.1f} s, {taken['GB']:.2f} GB", flush=True)

    with TemporaryDirectory(dir=ROOT / BUILD) as name:
        folder = Path(name)
        (folder / "data").mkdir()
        declare(folder / "params.yaml")
        rows = folder / declared_scorer(SCORER, ROOT / "params.yaml").data
        write_rows(rows, n_rows)
        built = folder / BUILD / SCORER
        built.mkdir(parents=True)
        for chosen in ("resampling.json", "tuned.json"):
            shutil.copy(ROOT / BUILD / SCORER / chosen, built)
        shutil.copytree(ROOT / BUNDLES / SCORER, folder / BUNDLES / SCORER)
        run("", "training.catalogue", SCORER)
        run("prepare", "training.prepare", SCORER)
        run("", "benchmarks.training.stage_steps", "train", SCORER)
        run("", "benchmarks.training.stage_steps", "bare", SCORER)
        for stage in ("calibrate", "baseline"):
            run(stage, f"training.{stage}", SCORER)
        run("score", "training.score", SCORER, str(rows), str(folder / "scored.parquet"))
    return steps


def exponent(measured: Measured, steps: tuple[str, ...]) -> float:
    """The exponent with which the total time of some steps grows with the rows, by least squares over all sizes."""
    seconds = [_taken(of, steps)[0] for of in measured.values()]
    return float(np.polyfit(np.log(list(measured)), np.log(seconds), 1)[0])


def _taken(of: dict[str, dict[str, float]], steps: tuple[str, ...]) -> tuple[float, float]:
    """The seconds of some steps together, and the most memory of one."""
    return sum(of[step]["seconds"] for step in steps), max(of[step]["GB"] for step in steps)


def training_table(report: Mapping[str, Any]) -> str:
    """Each step's seconds and memory by number of rows, and how they grow."""
    measured = by_rows(report)
    lines = {step: (step,) for step in next(iter(measured.values()))} | {"features, resampling and fit": TRAIN}
    rows = []
    for name, steps in lines.items():
        taken = [_taken(of, steps) for of in measured.values()]
        grown = f"{exponent(measured, steps):.2f}" if len(measured) > 1 else ""
        rows.append([name, *(f"{seconds:,.1f} s, {memory:.2f} GB" for seconds, memory in taken), grown])
    ratios = [f"{_taken(of, TRAIN)[0] / of['bare fit']['seconds']:.2f} x" for of in measured.values()]
    rows.append(["features, resampling and fit, relative to the bare fit", *ratios, ""])
    return table(["step", *(f"{n_rows:,} rows" for n_rows in measured), "exponent of growth"], rows)


def by_rows(report: Mapping[str, Any]) -> Measured:
    """What was measured, by number of rows."""
    return {int(n_rows): steps for n_rows, steps in report["rows"].items()}


def training_caption(report: Mapping[str, Any]) -> str:
    """What was measured, when and where."""
    machine = report["machine"]
    return f"`make bench-training` on {date_of(report)}, {machine['cores']} cores of an {machine['processor']}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table; with `--record`, the recorded figures for other numbers of rows are kept."""
    options = options_of("training.stages", __doc__, SIZES, arguments)
    rows = [options.rows // 10**power for power in reversed(range(options.row_counts))]
    measured = {n_rows: measure(n_rows) for n_rows in rows}
    print(training_table({"rows": measured}))
    before = by_rows(report("training.json")) if (REPORTS / "training.json").exists() else {}
    keep("training", {"machine": machine(), "rows": dict(sorted((before | measured).items()))}, options)


if __name__ == "__main__":
    main()
