"""Resampling: unchanged original rows, plausible synthetic frauds, weights, and clear refusals."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from training.model.resampling import Resampler, _joined, _moments, fraud_weight, variant_name
from training.params import Compute, Resampling
from training.run.matrix import FeatureMatrix, Matrix, by_chunk
from training.run.processes import Workers

N_ROWS = 600
N_FRAUDS = 20
MIXED = ["q", "c", "q", "c", "q"]

Rows = tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]


def drawn(types: list[str], *, n_frauds: int = N_FRAUDS) -> Rows:
    """A matrix with 5 % missing values and the labels of its rows, frauds scattered among them."""
    rng = np.random.default_rng(1)
    columns: list[npt.NDArray[Any]] = [
        rng.integers(0, 4, N_ROWS) if kind == "c" else rng.normal(50, 20, N_ROWS) for kind in types
    ]
    matrix = np.stack(columns, axis=1).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.05] = np.nan
    label = np.zeros(N_ROWS, dtype=np.int8)
    label[rng.choice(N_ROWS, n_frauds, replace=False)] = 1
    return matrix, label


def resampled(rows: Rows, types: list[str], declared: Resampling, *, seed: int = 7) -> Rows:
    """The rows after resampling."""
    result: Rows = Resampler(declared, types, seed).fit_resample(*rows)
    return result


SMOTE = Resampling(method="smote", ratio=0.1)


class Smoted(NamedTuple):
    """Rows before and after SMOTE, and the resampler."""

    types: list[str]
    before: Rows
    after: Rows
    resampler: Resampler


@pytest.fixture(scope="module", params=[["q"] * 5, MIXED], ids=["numbers", "with categories"])
def smoted(request: pytest.FixtureRequest) -> Smoted:
    """Rows of numbers, or of numbers and categories, resampled by SMOTE."""
    rows, resampler = drawn(request.param), Resampler(SMOTE, request.param, 7)
    return Smoted(request.param, rows, resampler.fit_resample(*rows), resampler)


def test_originals_come_first_untouched(smoted: Smoted) -> None:
    """The result starts with the given rows, bit for bit including NaN, and only frauds follow."""
    (matrix, label), (rows, labels) = smoted.before, smoted.after
    assert matrix.tobytes() == drawn(smoted.types)[0].tobytes()
    assert rows.dtype == np.float32
    assert rows[:N_ROWS].tobytes() == matrix.tobytes()
    assert labels[:N_ROWS].tobytes() == label.tobytes()
    assert (labels[N_ROWS:] == 1).all()
    assert labels.dtype == label.dtype


def test_ratio_is_reached(smoted: Smoted) -> None:
    """The declared ratio of frauds to legitimate rows is reached, with less than one fraud missing."""
    labels = smoted.after[1]
    assert labels.sum() == int(0.1 * (labels == 0).sum()) == 58
    assert smoted.resampler.n_rows_ == N_ROWS + 58 - N_FRAUDS


def require_between_frauds(synthetic: Matrix, rows: Rows, types: list[str]) -> None:
    """Check that synthetic numbers are within the range of the frauds' values and the median of all rows."""
    matrix, label = rows
    for column in (index for index, kind in enumerate(types) if kind == "q"):
        frauds = np.append(matrix[label == 1, column], np.nanmedian(matrix[:, column]))
        assert np.isfinite(synthetic[:, column]).all()
        assert np.nanmin(frauds) - 1e-3 <= synthetic[:, column].min()
        assert synthetic[:, column].max() <= np.nanmax(frauds) + 1e-3


def test_synthetic_numbers_lie_between_frauds(smoted: Smoted) -> None:
    """Synthetic numbers are in their original unit, within the range of the frauds' values and the median."""
    require_between_frauds(smoted.after[0][N_ROWS:], smoted.before, smoted.types)


def test_less_than_a_fraud_more_is_none() -> None:
    """Ten frauds to 105 legitimate rows are just below a tenth, by less than one fraud, so none is added."""
    rng = np.random.default_rng(0)
    matrix, label = rng.normal(size=(115, 2)).astype(np.float32), np.repeat([1, 0], [10, 105]).astype(np.int8)

    class Strict(Workers):
        def encoded(self, *_: object) -> FeatureMatrix:
            raise AssertionError

    kept, synthetic = Resampler(SMOTE, ["q", "q"], 7).resample(matrix, label, Strict(Compute()))
    assert (kept, len(synthetic)) == (None, 0)


def test_synthetic_codes_exist() -> None:
    """A synthetic row has a category that frauds have, never a code in between."""
    matrix, label = drawn(MIXED)
    rows, _ = resampled((matrix, label), MIXED, SMOTE)
    for column in (1, 3):
        present = set(matrix[label == 1, column][~np.isnan(matrix[label == 1, column])])
        synthetic = rows[N_ROWS:, column]
        assert set(synthetic[~np.isnan(synthetic)]) <= present


def test_column_that_is_missing_or_constant_throughout() -> None:
    """A column without any value, or with a constant one, causes no error."""
    matrix, label = drawn(["q"] * 5)
    matrix[:, 1] = np.nan
    matrix[:, 2] = 3.0
    rows, _ = resampled((matrix, label), ["q"] * 5, SMOTE)
    assert np.isnan(rows[:N_ROWS, 1]).all()
    assert (rows[N_ROWS:, 2] == 3.0).all()


def test_category_that_is_missing_throughout() -> None:
    """A category that no row has stays missing in the synthetic rows."""
    matrix, label = drawn(MIXED)
    matrix[:, 3] = np.nan
    rows, _ = resampled((matrix, label), MIXED, SMOTE)
    assert np.isnan(rows[:, 3]).all()


@pytest.mark.parametrize(
    ("method", "ratio"),
    [("none", 1), ("class_weight", 1), ("smote", 0), ("smote", 0.01), ("undersample", 0), ("undersample", 0.01)],
)
def test_nothing_to_do_returns_the_input(method: str, ratio: float) -> None:
    """If no row is to be added or removed, or there are enough frauds already, the input itself is returned."""
    matrix, label = drawn(["q"] * 5)
    resampler = Resampler(Resampling.model_validate({"method": method, "ratio": ratio}), ["q"] * 5, 7)
    rows, labels = resampler.fit_resample(matrix, label)
    assert rows is matrix
    assert labels is label
    assert resampler.n_rows_ == N_ROWS


RATIOS = st.floats(0.05, 1)


@settings(max_examples=40)
@given(ratio=RATIOS, n_frauds=st.integers(1, 30), seed=st.integers(0, 100))
def test_undersampling_keeps_every_fraud(ratio: float, n_frauds: int, seed: int) -> None:
    """All frauds stay, and as many legitimate rows as the ratio needs, give or take less than one row.

    They are original rows with their labels, each at most once and in the original order.
    """
    matrix, label = drawn(MIXED, n_frauds=n_frauds)
    matrix[:, 0] = np.arange(N_ROWS)
    kept_rows, labels = resampled((matrix, label), MIXED, Resampling(method="undersample", ratio=ratio), seed=seed)
    kept = kept_rows[:, 0].astype(int)
    assert (np.diff(kept) > 0).all()
    assert kept_rows.tobytes() == matrix[kept].tobytes()
    assert labels.tobytes() == label[kept].tobytes()
    assert labels.sum() == n_frauds
    assert (labels == 0).sum() == pytest.approx(min(int(n_frauds / ratio), N_ROWS - n_frauds), abs=1)


def test_undersampling_reads_no_value() -> None:
    """Undersampling works with categories only, all of them missing, and counts the remaining rows."""
    matrix, label = drawn(["c", "c"])
    matrix[:] = np.nan
    resampler = Resampler(Resampling(method="undersample", ratio=0.5), ["c", "c"], 7)
    rows, _ = resampler.fit_resample(matrix, label)
    assert rows.shape == (3 * N_FRAUDS, 2)
    assert resampler.n_rows_ == 3 * N_FRAUDS


@pytest.mark.parametrize(
    ("method", "ratio", "weight"),
    [
        ("class_weight", 1.0, 29.0),
        ("class_weight", 0.1, 2.9),
        ("class_weight", 0.01, 1.0),
        ("class_weight", 0, 1.0),
        ("smote", 1.0, 1.0),
        ("undersample", 1.0, 1.0),
        ("none", 1.0, 1.0),
    ],
)
def test_weight_of_a_fraud(method: str, ratio: float, weight: float) -> None:
    """Class weights give frauds the declared ratio of the legitimate rows' weight, and never less than a row's."""
    _, label = drawn(["q"])
    declared = Resampling.model_validate({"method": method, "ratio": ratio})
    assert fraud_weight(declared, label) == pytest.approx(weight)


def test_too_few_frauds() -> None:
    """Fewer frauds than neighbours are refused with both numbers; one more than neighbours is enough."""
    for n_frauds in (0, 1, 5):
        with pytest.raises(
            ValueError, match=f"^the training rows have {n_frauds} frauds?; SMOTE with 5 neighbours needs at least 6"
        ):
            resampled(drawn(["q"] * 5, n_frauds=n_frauds), ["q"] * 5, SMOTE)
    # Six frauds have five neighbours each.
    _, labels = resampled(drawn(MIXED, n_frauds=6), MIXED, SMOTE)
    assert labels.sum() == int(0.1 * (labels == 0).sum())


@pytest.mark.parametrize("method", ["smote", "undersample"])
@pytest.mark.parametrize("types", [["q"] * 5, MIXED], ids=["numbers", "with categories"])
def test_one_seed_one_result(types: list[str], method: str) -> None:
    """The same seed gives the same bytes, another seed other rows."""
    declared = Resampling.model_validate({"method": method, "ratio": 0.1})
    first, again, other = (resampled(drawn(types), types, declared, seed=seed)[0] for seed in (7, 7, 8))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def in_chunks_of(chunk_rows: int, *, n_processes: int | None = 1) -> Workers:
    """Workers with smaller chunks than may be declared; None starts a process for each core."""
    return Workers(Compute.model_construct(chunk_rows=chunk_rows), n_processes)


@settings(max_examples=40)
@given(n_rows=st.integers(2, 300), chunk_rows=st.integers(1, 120), seed=st.integers(0, 100))
def test_moments_of_chunks_are_those_of_all_rows(n_rows: int, chunk_rows: int, seed: int) -> None:
    """Joined means and scales of chunks equal scikit-learn's over all rows, with missing values imputed."""
    rng = np.random.default_rng(seed)
    matrix = (rng.normal(size=(n_rows, 4)) * [1, 20, 0.01, 0] + [0, 50, 3, 0.1]).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.05] = np.nan
    medians = np.array([0.0, 50.0, 3.0, np.float32(0.1)])
    imputed = np.where(np.isnan(matrix), medians, matrix.astype(np.float64))
    expected = StandardScaler().fit(imputed)
    moments = by_chunk(FeatureMatrix(matrix, chunk_rows), partial(_moments, [0, 1, 2, 3], medians))
    mean, scale = _joined(moments)
    np.testing.assert_allclose(mean, expected.mean_, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(scale[:3], expected.scale_[:3], rtol=1e-12)


def test_scale_of_a_constant_is_one() -> None:
    """A constant column has a scale of one, in one chunk or several."""
    matrix = np.full((90, 1), 3.0, np.float32)
    for chunk_rows in (90, 40):
        moments = by_chunk(FeatureMatrix(matrix, chunk_rows), partial(_moments, [0], np.zeros(1)))
        assert [float(column[0]) for column in _joined(moments)] == [3.0, 1.0]


def portions(types: list[str], workers: Workers, *, as_chunks: bool) -> tuple[Matrix, Resampler]:
    """Synthetic frauds made by workers in portions of a chunk's size, and the resampler."""
    matrix, label = drawn(types)
    resampler = Resampler(Resampling(method="smote", ratio=0.2), types, 7)
    rows = FeatureMatrix(matrix, workers.compute.chunk_rows) if as_chunks else matrix
    kept, synthetic = resampler.resample(rows, label, workers)
    assert kept is None
    return synthetic[:], resampler


@pytest.mark.parametrize("types", [["q"] * 5, MIXED], ids=["numbers", "with categories"])
@pytest.mark.usefixtures("working_folder")
def test_portions_reach_the_ratio(types: list[str]) -> None:
    """Synthetic frauds made in portions reach the declared ratio, and portions differ from each other."""
    synthetic, resampler = portions(types, in_chunks_of(40), as_chunks=True)
    assert len(synthetic) == int(0.2 * (N_ROWS - N_FRAUDS)) - N_FRAUDS == 96
    assert resampler.n_rows_ == N_ROWS + 96
    assert len({row.tobytes() for row in synthetic}) > 90
    require_between_frauds(synthetic, drawn(types), types)


def test_portions_are_the_same_in_other_processes(working_folder: Path) -> None:
    """A seed gives the same frauds in any number of processes, and no file is left behind."""
    first, again = (portions(MIXED, in_chunks_of(40, n_processes=n), as_chunks=True)[0] for n in (1, None))
    assert first.tobytes() == again.tobytes()
    assert list((working_folder / "build").iterdir()) == []


def test_a_single_portion_is_that_of_the_array() -> None:
    """If they fit into one portion, the synthetic frauds equal those of a matrix in memory."""
    chunked, whole = (portions(MIXED, in_chunks_of(600), as_chunks=as_chunks)[0] for as_chunks in (True, False))
    assert chunked.tobytes() == whole.tobytes()


@pytest.mark.usefixtures("working_folder")
def test_chunks_are_undersampled_as_the_array() -> None:
    """The same positions are kept for any chunks, and no row is synthetic."""
    matrix, label = drawn(MIXED)
    resampler = Resampler(Resampling(method="undersample", ratio=0.5), MIXED, 7)
    expected, _ = resampler.fit_resample(matrix, label)
    kept, synthetic = resampler.resample(FeatureMatrix(matrix, 100), label, in_chunks_of(100))
    assert kept is not None
    assert matrix[kept].tobytes() == expected.tobytes()
    assert synthetic.shape == (0, 5)


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        (Resampling(method="none"), "none"),
        (Resampling(method="none", ratio=0.5), "none"),
        (Resampling(method="undersample", ratio=0), "none"),
        (Resampling(method="smote", ratio=0.1), "smote 0.1"),
        (Resampling(method="undersample", ratio=0.03), "undersample 0.03"),
        (Resampling(method="class_weight", ratio=1.0), "class_weight 1"),
    ],
)
def test_variants_are_named_by_method_and_ratio(variant: Resampling, name: str) -> None:
    """A variant is named after its method and ratio, or `none` if it has no effect."""
    assert variant_name(variant) == name
