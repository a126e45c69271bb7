"""Parity: whether the function computes for the rows of the data what the training pipeline computes."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from pydantic import BaseModel
from tqdm import tqdm

from handler.history.sqlite import SqliteHistory
from handler.scoring.contract import Contract
from handler.scoring.scorer import Scorer
from training.data.entity_fold import fold_rows
from training.data.requests import sent_requests
from training.data.state_file import checked_past_rows
from training.data.window import Window
from training.declaration import ScorerDeclaration
from training.errors import StageError
from training.evaluation.calibration import calibrated
from training.model.fit import margins
from training.run.processes import Workers

if TYPE_CHECKING:
    from handler.scoring.past import RequestPast

TOLERANCE = 1e-6


def check_parity(  # noqa: PLR0913 - what is compared, and where the rows begin
    scorer: Scorer,
    pipeline: Any,  # noqa: ANN401 - imblearn has no types
    calibration: dict[str, float],
    rows: pd.DataFrame,
    requests: Iterable[BaseModel] | None = None,
    *,
    first: int = 0,
) -> float:
    """The largest absolute difference, over all rows, between the function's probability and the pipeline's.

    Each row passes through JSON, the contract, the features and the C library as a request does. `requests` are the
    rows as requests; by default they have no past. `first` is how many rows of the window come before these. Raises
    StageError, with the worst row, if the difference exceeds TOLERANCE.
    """
    expected = calibrated(margins(pipeline, rows), calibration).tolist()
    worst, place, worst_request = 0.0, 0, None
    shown = tqdm(requests or sent_requests(scorer, rows), total=len(rows), desc="parity", unit="rows", disable=None)
    for number, (sent, probability) in enumerate(zip(shown, expected, strict=True)):
        difference = abs(scorer.probability(scorer.bundle.booster.margin(scorer.vector(sent))) - probability)
        if difference > worst or worst_request is None:
            worst, place, worst_request = difference, number, sent
    if worst > TOLERANCE:
        # The message ends up in logs, which must not show whom a row is about: its position is enough to find it.
        names = {*scorer.contract.keys, *filter(None, (scorer.contract.id,))}
        request = worst_request.model_dump(by_alias=True, exclude_unset=True, exclude=names) if worst_request else {}
        raise StageError(
            f"the function's probability differs from the pipeline's by {worst:.3g} for row {first + place:,} of the "
            f"test window, counted from 0: {request}"
        )
    return worst


def completed_requests(scorer: Scorer, history: SqliteHistory, rows: pd.DataFrame, label: str) -> Iterator[BaseModel]:
    """Each row as the function completes it from the history, which then learns the row and its label.

    The fold itself hides labels that were not known yet.
    """
    past = cast("RequestPast", scorer.past)
    for request, is_fraud in zip(sent_requests(scorer, rows), rows[label].tolist(), strict=True):
        events = past.events(request)
        if past.complete(request, history.exchange([events])[0]):
            raise StageError("the history did not answer while it was checked")
        if is_fraud:
            history.add_frauds([events])
        yield request


def history_before(name: str, contract: Contract, rows: Path, declared: ScorerDeclaration) -> SqliteHistory:
    """A history of all rows before the test window, folded by the function's own code."""
    history = SqliteHistory(":memory:", 1_000)
    every = checked_past_rows(rows, name, contract, declared)
    n_before = np.searchsorted(every.seconds, Window(rows / "test.parquet").column(declared.time)[0])
    for folded in fold_rows(every.at(np.arange(n_before)), contract, Workers(declared.compute), scorer=name):
        history.put(zip(folded.keys, folded.states, folded.expires, strict=True))
    return history
