"""The features of some entities' rows by the fold that the function computes them with: the oracle of every run."""

from collections.abc import Iterator, Mapping

import numpy as np

from handler.scoring.entity_state import EntityPast, Event, State, hash_of, whole
from handler.scoring.fields import DeclaredField
from handler.scoring.history import History
from training.data.past_rows import Codes, Integers, PastRows
from training.errors import DataError
from training.run.matrix import Floats

# Of each kind of entity some hundred, of each its first rows: together a second or two.
SAMPLED_KEYS, ROWS_A_KEY, MOST_ROWS = 300, 2_000, 20_000


def require_equal_to_fold(
    rows: PastRows,
    history: History,
    fields: Mapping[str, DeclaredField],
    columns: Mapping[str, Floats],
    seed: int,
) -> None:
    """Raise DataError where a feature of a sampled row differs, in any bit, from what the function would compute."""
    for name, keys, places in sampled_places(rows, history, seed):
        for feature, values in folded(rows, history, fields, name, keys, places).items():
            computed = columns[feature][places]
            different = np.flatnonzero((computed != values) & ~(np.isnan(computed) & np.isnan(values)))
            if len(different):
                first = different[0]
                raise DataError(
                    f"history.features.{feature} of row {places[first]:,} in order of time is {computed[first]!r}, but "
                    f"the function would compute {values[first]!r}, as it does not for {len(different):,} of "
                    f"{len(places):,} sampled rows; this is a fault of the program, please report it"
                )


def sampled_places(rows: PastRows, history: History, seed: int) -> Iterator[tuple[str, Codes, Integers]]:
    """Per kind of entity its name, the number of each row's entity, and the places of the first rows of some entities.

    The more rows an entity has, the likelier it is drawn.
    """
    for number, (name, entity) in enumerate(history.entities.items()):
        keys, draw = rows.keys(entity), np.random.default_rng([seed, number])
        yield name, keys, _first_places(keys, MOST_ROWS // len(history.entities), draw)


def folded(  # noqa: PLR0913, PLR0917 - what declares the features, and whose
    rows: PastRows,
    history: History,
    fields: Mapping[str, DeclaredField],
    entity: str,
    keys: Codes,
    places: Integers,
) -> dict[str, Floats]:
    """The features of one kind of entity at ascending places, which must hold all earlier rows of their keys."""
    fold = EntityPast(history, entity, fields)
    states: dict[int, State] = {}
    values = np.full((len(places), len(fold.names)), np.nan)
    columns = [rows.numbers[name][places].tolist() for name in fold.measured]
    remembered = [(rows.texts[name].texts, rows.texts[name].codes[places].tolist()) for name in fold.remembered]
    frauds = (rows.label[places] == 1) & fold.has_frauds
    times, of_keys = rows.ticks(history, places).tolist(), keys[places].tolist()
    for number, (time, key, is_fraud) in enumerate(zip(times, of_keys, frauds.tolist(), strict=True)):
        if key not in states:
            states[key] = fold.empty()
        state = states[key]
        measures = [whole(column[number], scale) for column, scale in zip(columns, fold.scales, strict=True)]
        # An empty text is none.
        known = [texts[codes[number]] if codes[number] >= 0 else "" for texts, codes in remembered]
        event = Event(time, measures, [hash_of(text) if text else None for text in known])
        values[number] = fold.values(state, event)
        fold.add(state, event)
        if is_fraud:
            # Counted at once, because the delay of labels hides it as long as it is not known.
            fold.add_fraud(state, time)
    return {name: values[:, column] for column, name in enumerate(fold.names)}


def _first_places(keys: Codes, most: int, draw: np.random.Generator) -> Integers:
    """The first rows of some drawn keys, ascending."""
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
