"""Local training: batches hold the training set, and the model equals XGBClassifier's, in memory or on disk."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xgboost
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from training.params import Compute
from training.run import xgboost_fit
from training.run.matrix import FeatureMatrix, Matrix
from training.run.xgboost_fit import TrainingSet, fit_booster

AllRows = tuple[Matrix, npt.NDArray[np.int8]]
TYPES = ["q", "c", "q", "q"]
N_OWN, N_SYNTHETIC = 1_100, 150
ROUNDS = 12


def chunks_of(chunk_rows: int, **keys: Any) -> Compute:  # noqa: ANN401 - Compute's own
    """Chunks of `chunk_rows` rows, which may be fewer than a user can declare."""
    return Compute.model_construct(chunk_rows=chunk_rows, **keys)


def rows_of(n_rows: int, seed: int) -> Matrix:
    """Rows of three numbers and a category, a twentieth of the values missing."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n_rows, len(TYPES))).astype(np.float32)
    matrix[:, 1] = rng.integers(0, 5, n_rows)
    matrix[rng.random(matrix.shape) < 0.05] = np.nan
    return matrix


@pytest.fixture(scope="module")
def training_set() -> TrainingSet:
    """1,100 rows with labels that depend on two features, and 150 synthetic frauds."""
    own = rows_of(N_OWN, 1)
    noise = np.random.default_rng(2).normal(scale=0.5, size=N_OWN)
    label = (np.nan_to_num(own[:, 0]) + (own[:, 1] == 2) + noise > 1.2).astype(np.int8)
    made = rows_of(N_SYNTHETIC, 3)
    made[:, 0] = np.abs(made[:, 0]) + 1
    return TrainingSet(FeatureMatrix(own, 400), label, FeatureMatrix(made, 400))


@pytest.fixture(scope="module")
def whole(training_set: TrainingSet) -> AllRows:
    """All rows of the training set, as XGBClassifier takes them."""
    matrix = np.concatenate([training_set.rows[:], training_set.synthetic[:]])
    return matrix, np.append(training_set.label, np.ones(N_SYNTHETIC, np.int8))


def classifier(**changes: Any) -> xgboost.XGBClassifier:  # noqa: ANN401 - XGBoost's own
    """An unfitted model with the parameters of `training.model.fit.build_model`."""
    given: dict[str, Any] = {
        "n_estimators": ROUNDS,
        "max_depth": 4,
        "learning_rate": 0.3,
        "subsample": 0.8,
        "max_bin": 64,
        "n_jobs": 1,
        "random_state": 7,
        "tree_method": "hist",
        "base_score": 0.5,
        "feature_types": TYPES,
        "enable_categorical": True,
    }
    return xgboost.XGBClassifier(**given | changes)


def fitted(model: xgboost.XGBClassifier, training_set: TrainingSet, compute: Compute) -> xgboost.Booster:
    """The booster that `fit_booster` trains with the model's parameters."""
    given = {key: value for key, value in model.get_xgb_params().items() if value is not None}
    return fit_booster(given | {"feature_types": model.feature_types}, ROUNDS, training_set, compute)


def margins(booster: xgboost.Booster, matrix: Matrix) -> npt.NDArray[np.float32]:
    """The margins of encoded rows."""
    data = xgboost.DMatrix(matrix, feature_types=booster.feature_types, enable_categorical=True)
    margin: npt.NDArray[np.float32] = booster.predict(data, output_margin=True)
    return margin


@given(n_own=st.integers(0, 40), n_synthetic=st.integers(0, 40), size=st.integers(1, 50), chunk_rows=st.integers(1, 50))
def test_batches_hold_the_training_set(n_own: int, n_synthetic: int, size: int, chunk_rows: int) -> None:
    """Batches hold all rows, then all synthetic frauds, with labels; only the last is smaller than the given size."""
    own = np.arange(n_own, dtype=np.float32).reshape(-1, 1)
    made = np.arange(1_000, 1_000 + n_synthetic, dtype=np.float32).reshape(-1, 1)
    label = (np.arange(n_own) % 3 == 0).astype(np.int8)
    training_set = TrainingSet(FeatureMatrix(own, chunk_rows), label, FeatureMatrix(made, chunk_rows))
    batches = list(training_set.batches(size))
    assert len(training_set) == n_own + n_synthetic
    sizes = [min(size, len(training_set) - start) for start in range(0, len(training_set), size)]
    assert [len(rows) for rows, _ in batches] == sizes
    assert all(rows.dtype == np.float32 and labels.dtype == np.int8 for rows, labels in batches)
    rows, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True)) if batches else (own, label)
    np.testing.assert_array_equal(rows, np.concatenate([own, made]))
    np.testing.assert_array_equal(labels, np.append(label, np.ones(n_synthetic, np.int8)))


def test_one_batch_gives_scikit_learns_model(training_set: TrainingSet, whole: AllRows) -> None:
    """If all rows form one batch, the model is the same to the bit."""
    expected = classifier().fit(*whole).get_booster()
    assert fitted(classifier(), training_set, chunks_of(5_000)).save_raw("ubj") == expected.save_raw("ubj")


@pytest.mark.parametrize("chunk_rows", [300, 1_100])
@pytest.mark.usefixtures("working_folder")
def test_several_batches_give_nearly_the_same_margins(
    training_set: TrainingSet, whole: AllRows, chunk_rows: int
) -> None:
    """Merged quantiles give slightly different cuts, so a row's margin hardly differs."""
    expected = margins(classifier(subsample=1.0).fit(*whole).get_booster(), whole[0])
    margin = margins(fitted(classifier(subsample=1.0), training_set, chunks_of(chunk_rows)), whole[0])
    assert np.corrcoef(margin, expected)[0, 1] > 0.99
    assert np.abs(margin - expected).mean() < 0.1 * expected.std()


def test_rows_may_stay_on_the_disk(
    training_set: TrainingSet, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal batches give equal bytes, and nearly the same margins with pages on disk during training."""
    pages: list[int] = []

    class PageCounter(xgboost_fit.RoundProgress):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ANN401 - XGBoost's
            pages.append(sum(path.stat().st_size for path in working_folder.glob("build/.xgboost-*/rows*")))
            return super().after_iteration(model, epoch, evals_log)

    in_memory, again = (fitted(classifier(), training_set, chunks_of(300)) for _ in range(2))
    assert in_memory.save_raw("ubj") == again.save_raw("ubj")
    monkeypatch.setattr(xgboost_fit, "RoundProgress", PageCounter)
    on_disk = fitted(classifier(), training_set, chunks_of(300, external_memory=True))
    assert min(pages) > 0
    rows = training_set.rows[:]
    np.testing.assert_allclose(margins(on_disk, rows), margins(in_memory, rows), atol=1e-4)
    assert list((working_folder / "build").iterdir()) == []


def test_pages_without_room_are_refused_before_one_is_written(
    training_set: TrainingSet, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XGBoost would crash on a full disk; a killed run's pages are deleted first, but not those of another run."""
    killed, running = (working_folder / "build" / f".xgboost-{name}" for name in ("killed", "running"))
    for folder in (killed, running):
        folder.mkdir(parents=True)
        (folder / "lock").touch()
    monkeypatch.setattr(xgboost_fit.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000))
    no_room = pytest.raises(OSError, match=r"external memory needs 0\.0 GB, but only 0\.0 GB are free")
    with FileLock(running / "lock"), no_room:
        fitted(classifier(), training_set, chunks_of(300, external_memory=True))
    assert list((working_folder / "build").iterdir()) == [running]


def test_exact_trees_see_all_rows_at_once(training_set: TrainingSet, whole: AllRows) -> None:
    """The exact method takes neither batches, bins nor categories, and gives scikit-learn's model to the bit."""
    matrix, label = whole
    own, synthetic = (FeatureMatrix(part[:, [0, 2]], 300) for part in (training_set.rows, training_set.synthetic))
    numbers = TrainingSet(own, training_set.label, synthetic)
    model = classifier(tree_method="exact", max_bin=None, feature_types=["q", "q"])
    booster = fitted(model, numbers, chunks_of(300))
    expected = model.fit(matrix[:, [0, 2]], label).get_booster()
    assert booster.save_raw("ubj") == expected.save_raw("ubj")


def test_rounds_are_logged(training_set: TrainingSet, capsys: pytest.CaptureFixture[str]) -> None:
    """The log shows the progress of the training."""
    fitted(classifier(), training_set, chunks_of(5_000))
    assert capsys.readouterr().out.splitlines()[-1] == f"rounds: {ROUNDS} of {ROUNDS}"
