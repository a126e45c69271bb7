"""What the folds chose, as the stages compare and tune wrote it."""

from pathlib import Path

from handler.scoring.contract import Frozen
from training.declaration import ScorerDeclaration, declared_scorer
from training.errors import StageError
from training.params import Model, Resampling
from training.run.files import BUILD


class ChosenResampling(Frozen):
    """The way to rebalance, the declared one or the folds' choice, and how many trees suit the default parameters."""

    resampling: Resampling
    rounds: int


def chosen_resampling(name: str) -> ChosenResampling:
    """The choice of the stage compare; raises StageError where that did not run."""
    return ChosenResampling.model_validate_json(_read(BUILD / name / "resampling.json", "compare"))


def chosen_scorer(name: str) -> ScorerDeclaration:
    """The declared scorer, with the chosen way to rebalance in place of `auto`."""
    return declared_scorer(name).model_copy(update={"resampling": chosen_resampling(name).resampling})


def chosen_model(name: str) -> Model:
    """XGBoost's parameters, the choice of the stage tune; raises StageError where that did not run."""
    return Model.model_validate_json(_read(BUILD / name / "tuned.json", "tune"))


def _read(path: Path, stage: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StageError(
            f"{path} cannot be read: {error.strerror}; run python -m training.{stage} {path.parent.name}, or dvc repro"
        ) from error
