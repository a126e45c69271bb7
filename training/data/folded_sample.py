"""Checks, in every run, the history features of sampled rows against the fold with which the function computes them."""

from collections.abc import Iterator, Mapping

import numpy as np

from handler.scoring.contract import Contract
from handler.scoring.history import History
from training.data.entity_fold import fold_rows
from training.data.past_rows import Codes, Integers, PastRows
from training.errors import DataError
from training.params import Compute
from training.run.matrix import Floats
from training.run.processes import Workers

# The first rows of a few hundred entities of each kind; checking all of them takes a second or two.
SAMPLED_KEYS, ROWS_A_KEY, MOST_ROWS = 300, 2_000, 20_000


def require_equal_to_fold(rows: PastRows, contract: Contract, columns: Mapping[str, Floats], seed: int) -> None:
    """Raise DataError if a feature of a sampled row differs, in any bit, from what the function would compute."""
    history: History = contract.history  # type: ignore[assignment]  # only scorers with one have such columns
    # In this process, because starting others would take longer.
    workers = Workers(Compute(), 1)
    for number, (name, places) in enumerate(sampled_places(rows, history, seed)):
        for folded in fold_rows(rows.at(places), contract, workers, scorer="", only=number, is_read=True):
            at = places[folded.places]
            for feature, values in zip(history.features_of(name), folded.features.T, strict=True):
                _require_equal(feature, at, columns[feature][at], values)


def _require_equal(feature: str, places: Integers, computed: Floats, values: Floats) -> None:
    different = np.flatnonzero((computed != values) & ~(np.isnan(computed) & np.isnan(values)))
    if len(different):
        first = different[0]
        raise DataError(
            f"history.features.{feature} of row {places[first]:,} in order of time is {computed[first]!r}, but the "
            f"function would compute {values[first]!r}; {len(different):,} of {len(places):,} sampled rows differ: "
            "this is a bug, please report it"
        )


def sampled_places(rows: PastRows, history: History, seed: int) -> Iterator[tuple[str, Integers]]:
    """For each kind of entity, its name and the positions of the first rows of some entities.

    The more rows an entity has, the more likely it is drawn.
    """
    for number, (name, entity) in enumerate(history.entities.items()):
        keys, draw = rows.keys(entity), np.random.default_rng([seed, number])
        yield name, _first_places(keys, MOST_ROWS // len(history.entities), draw)


def _first_places(keys: Codes, most: int, draw: np.random.Generator) -> Integers:
    """The positions of the first rows of some randomly drawn keys, ascending."""
    with_key = np.flatnonzero(keys >= 0)
    if not len(with_key):
        return with_key
    drawn = draw.permutation(np.unique(keys[draw.choice(with_key, SAMPLED_KEYS)]))
    order = np.full(int(keys.max()) + 2, -1)
    order[drawn] = np.arange(len(drawn))
    places = with_key[order[keys[with_key]] >= 0]
    places = places[np.argsort(order[keys[places]], kind="stable")]
    begins = np.searchsorted(order[keys[places]], np.arange(len(drawn)))
    rank = np.arange(len(places)) - begins[order[keys[places]]]
    return np.sort(places[rank < ROWS_A_KEY][:most])
