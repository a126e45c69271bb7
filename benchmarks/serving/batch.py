"""Rows a second of batch scoring, beside the booster alone, and its answers beside the function's own.

By processor time of one process, so that whoever else uses the machine does not count:
the shipped transaction rows, from one Parquet file in chunks to finished chunks, as `make score` does it. The floor is
the booster on a matrix that is ready, measured in turns with it. Then rows are scored from a file and asked of the
function, in batches through the Lambda handler; all values must be equal to the last bit.
"""

import json
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from benchmarks.command import ROOT, keep, options_of
from benchmarks.machine import in_turn, machine
from benchmarks.serving.batch_answers import NAME, compared, shipped_rows
from benchmarks.tables import date_of, table
from handler.scoring.features import feature_types
from handler.scoring.scorer import Scorer, load_scorer
from training.batch.chunk import ScoringJob, columns_of, score_chunk
from training.data.chunks import chunks_of
from training.data.input_files import read_input_files
from training.model.encoder import encode_rows
from training.run.files import BUNDLES
from training.score import CHUNK_ROWS

# Enough rows for a figure to settle, few enough for a minute.
SIZES = {"turns": (5, 1), "rows": (100_000, 400), "explained_rows": (20_000, 100), "compared_rows": (100_000, 400)}
PLAIN, EXPLAINED = "without reasons", "with reasons"
FLOORS = {PLAIN: "the booster alone", EXPLAINED: "the booster alone, with contributions"}


def batch_scoring(source: Path, run: Path, *, explain: bool) -> Callable[[], int]:
    """Scores a file's chunks in this process, from the file to the finished chunks; gives the number of rows."""
    parts = read_input_files(source)
    (run / "bundle").mkdir(parents=True)
    for file in (ROOT / BUNDLES / NAME).iterdir():
        (run / "bundle" / file.name).write_bytes(file.read_bytes())
    columns = columns_of(parts[0], load_scorer(run / "bundle").contract)
    job = ScoringJob(run, ".parquet", columns, frozenset(), explain)
    return lambda: sum(score_chunk(chunk, parts[chunk.part], job)["rows"] for chunk in chunks_of(parts, CHUNK_ROWS))


def booster_alone(scorer: Scorer, rows: pa.Table, *, explain: bool) -> Callable[[], int]:
    """Predicts a ready matrix with XGBoost's own package, on one core; gives the number of rows.

    With `explain` also the exact contributions for what is flagged, which no reasons come without.
    """
    import xgboost  # noqa: PLC0415 - only the floor needs it

    vocabulary = json.loads((ROOT / BUNDLES / NAME / "vocabulary.json").read_bytes())
    matrix = encode_rows(rows.to_pandas(), scorer.contract, vocabulary)
    model = bytearray((ROOT / BUNDLES / NAME / "model.ubj").read_bytes())
    booster = xgboost.Booster({"nthread": 1}, model_file=model)
    flagged = [
        scorer.probability(float(m)) >= scorer.threshold for m in booster.inplace_predict(matrix, predict_type="margin")
    ]
    types = feature_types(scorer.contract)
    explained = xgboost.DMatrix(matrix[flagged], feature_types=types, enable_categorical=True, nthread=1)

    def predict() -> int:
        if explain:
            booster.predict(explained, pred_contribs=True)
        return len(booster.inplace_predict(matrix, predict_type="margin"))

    return predict


def pace(score: Callable[[], int]) -> float:
    """Rows a second of processor time."""
    begin = process_time()
    n_rows = score()
    return n_rows / (process_time() - begin)


def paces(folder: Path, options: Namespace) -> dict[str, list[float]]:
    """The rows a second of each turn: of both floors, and of batch scoring without and with reasons."""
    scorer, sources = load_scorer(ROOT / BUNDLES / NAME), {}
    for name, n_rows in ((PLAIN, options.rows), (EXPLAINED, options.explained_rows)):
        sources[name] = folder / f"{n_rows}.parquet"
        pq.write_table(shipped_rows(n_rows), sources[name])
    scorings = {
        FLOORS[PLAIN]: booster_alone(scorer, shipped_rows(options.rows), explain=False),
        FLOORS[EXPLAINED]: booster_alone(scorer, shipped_rows(options.explained_rows), explain=True),
        PLAIN: batch_scoring(sources[PLAIN], folder / "plain", explain=False),
        EXPLAINED: batch_scoring(sources[EXPLAINED], folder / "explained", explain=True),
    }
    figures: dict[str, list[float]] = {name: [] for name in scorings}
    for turn in tqdm(range(-1, options.turns), unit="turn"):
        for name in in_turn(scorings, turn):
            figure = pace(scorings[name])
            # The first turn warms up: it loads the bundle too.
            if turn >= 0:
                figures[name].append(figure)
    return figures


def batch_table(report: Mapping[str, Any]) -> str:
    """The figures beside the booster's."""
    paces = report["rows_a_second"]
    rows = []
    for name, floor in FLOORS.items():
        rows.append([floor, f"{paces[floor]:,.0f}", f"{1e6 / paces[floor]:.1f} µs", ""])
        rows.append([name, f"{paces[name]:,.0f}", f"{1e6 / paces[name]:.1f} µs", f"{paces[name] / paces[floor]:.2f}x"])
    return table([NAME, "rows a second and core", "a row", "of the booster"], rows)


def sentence(report: Mapping[str, Any]) -> str:
    """What docs/batch-scoring.md says of it; `tests/training/test_score.py` compares it with the report."""
    paces, same = report["rows_a_second"], report["compared"]
    shares = {name: paces[name] / paces[floor] for name, floor in FLOORS.items()}
    return (
        f"On {date_of(report)} one core scored {paces[PLAIN]:,.0f} transaction rows a second without "
        f"reasons and {paces[EXPLAINED]:,.0f} with them, {shares[PLAIN]:.2f} and {shares[EXPLAINED]:.2f} of what the "
        f"booster does on a ready matrix; of {same['rows']:,} rows {same['different']:,} differed from the function's "
        f"answers."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, compare, print it, and end with an error where an answer differs."""
    options = options_of("serving.batch", __doc__, SIZES, arguments)
    with TemporaryDirectory() as name, chdir(ROOT):
        measured = paces(Path(name), options)
        report = {
            "machine": machine(),
            "rows_a_second": {scoring: median(figures) for scoring, figures in measured.items()},
            "turns": measured,
            "compared": compared(Path(name), options.compared_rows),
        }
    print(f"{batch_table(report)}\n\n{sentence(report)}")
    keep("batch", report, options)
    if report["compared"]["different"]:
        raise SystemExit(f"{report['compared']['different']:,} answers differ from the function's")


if __name__ == "__main__":
    main()
