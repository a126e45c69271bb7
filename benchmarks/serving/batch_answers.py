"""Whether the answers in a scored file equal those that the function gives in batches through its Lambda handler."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import to_json
from tqdm import tqdm

from benchmarks.command import ROOT
from benchmarks.serving.gateway import http_event
from handler.scoring.scorer import Scorer, load_scorer
from training.batch.answers import EXPLANATIONS
from training.data.requests import requests_of
from training.run.files import BUILD, BUNDLES
from training.score import ScoreOptions, score_files

NAME = "transaction"
BATCH = 1000


def shipped_rows(n_rows: int) -> pa.Table:
    """The first rows of all windows, as `prepare` leaves them."""
    files = sorted((ROOT / BUILD / NAME / "rows").glob("*.parquet"))
    return pa.concat_tables(pq.read_table(path) for path in files).slice(0, n_rows).combine_chunks()


def function_answers(rows: pd.DataFrame, scorer: Scorer) -> list[dict[str, Any]]:
    """The function's answers to rows, through its Lambda handler, a thousand at a time."""
    from handler.app import handler  # noqa: PLC0415 - it loads the bundles

    requests = list(requests_of(rows, scorer.contract))
    answers: list[dict[str, Any]] = []
    for at in tqdm(range(0, len(requests), BATCH), unit="batch"):
        response = handler(http_event(f"{scorer.contract.route}/batch", requests[at : at + BATCH]), None)
        if response["statusCode"] != 200:  # noqa: PLR2004 - HTTP's "ok"
            raise SystemExit(f"the function answered {response['statusCode']}: {response['body'][:500]}")
        answers += json.loads(response["body"])
    return answers


def differences(scored: pa.Table, answers: Sequence[dict[str, Any]]) -> int:
    """In how many rows a value of a scored file is not the function's, to the last bit."""
    columns = {name: scored[name].to_pylist() for name in ("fraud_probability", "is_flagged", "model_version")}
    texts = {name: scored[name].to_pylist() for name in EXPLANATIONS}
    differ = np.zeros(len(answers), dtype=bool)
    for index, answer in enumerate(answers):
        same = all(columns[name][index] == answer[name] for name in columns)
        same &= all(
            texts[name][index] == (to_json(answer[name]).decode() if name in answer else None) for name in texts
        )
        differ[index] = not same
    return int(differ.sum())


def compared(folder: Path, n_rows: int) -> dict[str, int]:
    """How many rows were scored from a file, how many of them flagged, and how many differ from the function's."""
    rows = shipped_rows(n_rows)
    source, output = folder / "compared.parquet", folder / "scored.parquet"
    pq.write_table(rows, source)
    # The store does not exist, so the packaged bundle is taken, which is what the function serves too.
    score_files(ScoreOptions(NAME, source, output, explain=True, store=str(folder / "store"), chunk_rows=n_rows // 4))
    scored, scorer = pq.read_table(output), load_scorer(ROOT / BUNDLES / NAME)
    differ = differences(scored, function_answers(rows.to_pandas(), scorer))
    return {"rows": scored.num_rows, "flagged": sum(scored["is_flagged"].to_pylist()), "different": differ}
