"""Rows a second of batch scoring, beside the booster alone.

By processor time of one process, so that other load on the machine does not count: the shipped transaction rows, from
one Parquet file in chunks to finished chunks, as `make score` does it. The floor is the booster on a matrix that is
ready, measured in turns with it.
"""

import json
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost
from tqdm import tqdm

from benchmarks.command import ROOT, keep, options_of
from benchmarks.machine import in_turn, machine
from benchmarks.tables import date_of
from handler.scoring.features import feature_types
from handler.scoring.scorer import load_scorer
from training.batch.chunk import ScoringJob, columns_of, score_chunk
from training.data.chunks import chunks_of
from training.data.input_files import read_input_files
from training.model.encoder import encode_rows
from training.run.files import BUILD, BUNDLES
from training.score import CHUNK_ROWS

NAME = "transaction"
BUNDLE = ROOT / BUNDLES / NAME
# Enough rows for a figure to settle, few enough for a minute.
SIZES = {"turns": (5, 1), "rows": (100_000, 400), "explained_rows": (20_000, 100)}
PLAIN, EXPLAINED = "without reasons", "with reasons"
FLOORS = {PLAIN: "the booster alone", EXPLAINED: "the booster alone, with contributions"}


def shipped_rows(n_rows: int) -> pa.Table:
    """The first rows of all windows, as `prepare` leaves them."""
    files = sorted((ROOT / BUILD / NAME / "rows").glob("*.parquet"))
    return pa.concat_tables(pq.read_table(path) for path in files).slice(0, n_rows).combine_chunks()


def batch_scoring(rows: pa.Table, run: Path, *, explain: bool) -> Callable[[], object]:
    """Scores a file's chunks in this process, from the file to the finished chunks."""
    (run / "bundle").mkdir(parents=True)
    for file in BUNDLE.iterdir():
        (run / "bundle" / file.name).write_bytes(file.read_bytes())
    pq.write_table(rows, run / "rows.parquet")
    parts = read_input_files(run / "rows.parquet")
    columns = columns_of(parts[0], load_scorer(BUNDLE).contract)
    job = ScoringJob(run, ".parquet", columns, frozenset(), explain)
    return lambda: [score_chunk(chunk, parts[chunk.part], job) for chunk in chunks_of(parts, CHUNK_ROWS)]


def booster_alone(rows: pa.Table, *, explain: bool) -> Callable[[], object]:
    """Predicts a ready matrix with XGBoost's own package, on one core.

    With `explain` also the exact contributions for what is flagged, which no reasons come without.
    """
    scorer, vocabulary = load_scorer(BUNDLE), json.loads((BUNDLE / "vocabulary.json").read_bytes())
    matrix = encode_rows(rows.to_pandas(), scorer.contract, vocabulary)
    booster = xgboost.Booster({"nthread": 1}, model_file=BUNDLE / "model.ubj")
    margins = booster.inplace_predict(matrix, predict_type="margin")
    flagged = matrix[np.array([scorer.probability(float(margin)) >= scorer.threshold for margin in margins])]
    types = feature_types(scorer.contract)
    explained = xgboost.DMatrix(flagged, feature_types=types, enable_categorical=True, nthread=1)

    def predict() -> None:
        if explain:
            booster.predict(explained, pred_contribs=True)
        booster.inplace_predict(matrix, predict_type="margin")

    return predict


def paces(folder: Path, options: Namespace) -> dict[str, list[float]]:
    """The rows a second of processor time of each turn: of both floors, and of scoring without and with reasons."""
    scorings: dict[str, tuple[int, Callable[[], object]]] = {}
    for name, n_rows in ((PLAIN, options.rows), (EXPLAINED, options.explained_rows)):
        rows, explain = shipped_rows(n_rows), name == EXPLAINED
        scorings[FLOORS[name]] = n_rows, booster_alone(rows, explain=explain)
        scorings[name] = n_rows, batch_scoring(rows, folder / name, explain=explain)
    figures: dict[str, list[float]] = {name: [] for name in scorings}
    for turn in tqdm(range(-1, options.turns), unit="turn"):
        for name in in_turn(scorings, turn):
            n_rows, score = scorings[name]
            begin = process_time()
            score()
            # The first turn warms up: it loads the bundle too.
            if turn >= 0:
                figures[name].append(n_rows / (process_time() - begin))
    return figures


def sentence(report: Mapping[str, Any]) -> str:
    """What docs/batch-scoring.md says of it; `tests/training/test_score.py` compares it with the report."""
    paces = report["rows_a_second"]
    shares = {name: paces[name] / paces[floor] for name, floor in FLOORS.items()}
    return (
        f"On {date_of(report)} one core scored {paces[PLAIN]:,.0f} transaction rows a second without "
        f"reasons and {paces[EXPLAINED]:,.0f} with them, {shares[PLAIN]:.2f} and {shares[EXPLAINED]:.2f} of what the "
        f"booster does on a ready matrix."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the sentence."""
    options = options_of("serving.batch", __doc__, SIZES, arguments)
    with TemporaryDirectory() as folder:
        turns = paces(Path(folder), options)
    medians = {name: median(figures) for name, figures in turns.items()}
    report = {"machine": machine(), "rows_a_second": medians, "turns": turns}
    print(sentence(report))
    keep("batch", report, options)


if __name__ == "__main__":
    main()
