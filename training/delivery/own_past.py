"""Features from a released version's own history, if the prepared rows have those of another history."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from handler.scoring.contract import Contract
from training.data.past_features import history_columns
from training.data.state_file import checked_past_rows
from training.declaration import ScorerDeclaration
from training.delivery.contenders import Contender
from training.errors import StageError


def past_id(contract: Contract) -> tuple[str, float] | None:
    """An id that is equal for contracts that compute equal history features; None without a history."""
    if (history := contract.history) is None:
        return None
    reads_rate = any(feature.take == "fraud_rate" for feature in history.features.values())
    return history.id_of(contract.fields), history.usual_fraud_rate if reads_rate else 0.0


def with_own_past(
    contender: Contender, challenger: Contract, window: pd.DataFrame, path: Path, declared: ScorerDeclaration
) -> Contender:
    """The contender, with its own history features if the window (the rows of `path`) has those of another history.

    The window has the features of the declared history, with the usual fraud rate that the challenger learned. Raises
    StageError if the files beside the window do not hold all rows that the contender's history reads.
    """
    contract, expected = contender.scorer.contract, declared.contract
    if expected.history:
        rate = challenger.history.usual_fraud_rate if challenger.history else 0.0
        learned = expected.history.learned(declared.split.label_delay_days, rate)
        expected = expected.model_copy(update={"history": learned})
    if past_id(contract) == past_id(expected):
        return contender
    if contract.history is None:
        return replace(contender, past=pd.DataFrame(index=range(len(window))))
    try:
        every = checked_past_rows(path.parent, contender.scorer.bundle.scorer, contract, declared)
    except StageError as error:
        raise StageError(_refusal(contender, path, str(error))) from error
    # The test window has the latest rows of all, in the same order.
    first = max(len(every.seconds) - len(window), 0)
    if not np.array_equal(every.seconds[first:], window[declared.time]):
        raise StageError(_refusal(contender, path, f"{path} does not hold the latest rows of the files beside it"))
    columns = history_columns(every, contract.history, contract.fields)
    return replace(contender, past=pd.DataFrame({name: values[first:] for name, values in columns.items()}))


def _refusal(contender: Contender, path: Path, reason: str) -> str:
    return (
        f"{contender.version} has another history than the rows of {path}, and its own history features cannot be "
        f"computed: {reason}; use the test.parquet that `dvc repro` prepares, with the other windows beside it and "
        "every field that both histories read"
    )
