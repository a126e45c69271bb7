"""Whether the served history has the states of a version before that version serves."""

import os

from handler.scoring.contract import Contract
from handler.scoring.past import RequestPast
from training.delivery.served_history import loaded_as_of


def missing_past(scorer: str, served: Contract, offered: Contract) -> str | None:
    """What speaks against a version that has another history than the one that serves; None where nothing does.

    Versions of the same history share their states. Those of another begin without any, unless they were loaded into
    the history that HISTORY names in the environment. Raises StageError where that one cannot be asked.
    """
    if offered.history is None:
        return None
    past, address = RequestPast(scorer, offered, offered.history), os.environ.get("HISTORY", "")
    if served.history and served.history.id_of(served.fields) == past.id:
        return None
    if address and loaded_as_of(address, scorer, past) is not None:
        return None
    where = f"{address} has none of its states" if address else "HISTORY= does not say where its states are"
    return (
        f"it has another history than the current version, and {where}: make history SCORER={scorer} BEFORE=2026-01-31 "
        f"builds them, LOAD={address or 'dynamodb://TABLE'} loads them"
    )
