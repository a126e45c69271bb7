"""XGBoost's C library against its Python package."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import xgboost

from handler.scoring.booster import Booster, BoosterError, library_version

TYPES = ["q", "c", "q", "q"]


def random_rows(n_rows: int, seed: int) -> npt.NDArray[np.float32]:
    """Numbers, a category's codes and missing values."""
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(n_rows, len(TYPES))).astype(np.float32)
    rows[:, 1] = draw.integers(0, 9, n_rows)
    rows[draw.random(rows.shape) < 0.1] = np.nan
    return rows


@pytest.fixture(scope="module")
def trained() -> xgboost.Booster:
    """A small model with native categories, trained by the Python package."""
    rows = random_rows(2000, seed=1)
    label = (np.nan_to_num(rows[:, 0]) + (np.nan_to_num(rows[:, 1]) % 3) > 1).astype(int)
    matrix = xgboost.DMatrix(rows, label, feature_types=TYPES, enable_categorical=True)
    return xgboost.train({"max_depth": 4, "base_score": 0.5, "objective": "binary:logistic", "nthread": 2}, matrix, 40)


@pytest.fixture(scope="module")
def loaded(trained: xgboost.Booster) -> Booster:
    """The same model through the C library."""
    return Booster(bytes(trained.save_raw("ubj")), TYPES)


def python_package(rows: npt.NDArray[np.float32]) -> xgboost.DMatrix:
    """Rows in the Python package's type."""
    return xgboost.DMatrix(rows, feature_types=TYPES, enable_categorical=True)


def test_the_library_tells_its_version() -> None:
    """It is the Python package's, which a bundle names as the version that trained it."""
    assert library_version() == xgboost.__version__


def test_margins_equal_the_python_packages_to_the_bit(trained: xgboost.Booster, loaded: Booster) -> None:
    """One row at a time, together, and in Python: the same float32."""
    rows = random_rows(500, seed=2)
    expected = trained.predict(python_package(rows), output_margin=True).tolist()
    assert [loaded.margin(row) for row in rows.tolist()] == expected
    assert loaded.margins(rows.tolist()) == expected


def test_margins_of_changes_are_those_of_the_changed_rows(loaded: Booster) -> None:
    """Several, one or no features change, and values may become missing."""
    row = random_rows(1, seed=5)[0].tolist()
    changes: list[dict[int, float]] = [{}, {0: 1.5}, {1: 3.0, 3: np.nan}, {2: -0.5}]
    changed = [[change.get(feature, value) for feature, value in enumerate(row)] for change in changes]
    assert loaded.changed_margins(row, changes) == loaded.margins(changed)


def test_contributions_equal_the_python_packages_to_the_bit(trained: xgboost.Booster, loaded: Booster) -> None:
    """TreeSHAP and the bias, row by row."""
    rows = random_rows(50, seed=3)
    expected = trained.predict(python_package(rows), pred_contribs=True).tolist()
    assert loaded.contributions(rows.tolist()) == expected


def test_contributions_and_bias_sum_to_the_margin(loaded: Booster) -> None:
    """The explanation is exact, not an approximation."""
    rows = random_rows(50, seed=4).tolist()
    sums = [sum(shares) for shares in loaded.contributions(rows)]
    assert sums == pytest.approx(loaded.margins(rows), abs=1e-5)


def test_a_model_of_another_width_is_refused(trained: xgboost.Booster) -> None:
    """The error has both numbers."""
    with pytest.raises(BoosterError, match="the model has 4 features; the contract declares 3"):
        Booster(bytes(trained.save_raw("ubj")), TYPES[:3])


def test_invalid_bytes_are_refused() -> None:
    """The error has XGBoost's message."""
    with pytest.raises(BoosterError, match="XGBoosterLoadModelFromBuffer"):
        Booster(b"not a model", TYPES)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trained: xgboost.Booster) -> None:
    """The error names the package to install."""
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(BoosterError, match="install xgboost-cpu"):
        Booster(bytes(trained.save_raw("ubj")), TYPES)
