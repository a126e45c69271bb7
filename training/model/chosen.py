"""The choices that were made on the folds, as the stages compare and tune wrote them."""

from pathlib import Path

from handler.scoring.fields import Frozen
from training.declaration import PARAMS, ScorerDeclaration, declared_scorer
from training.errors import StageError
from training.params import Model, Resampling
from training.run.files import BUILD


class ChosenResampling(Frozen):
    """The way to rebalance, as declared or as chosen on the folds, and how many trees suit the default parameters."""

    resampling: Resampling
    rounds: int


def chosen_resampling(name: str, project: Path = Path()) -> ChosenResampling:
    """The choice of the stage compare; raises StageError if that stage did not run."""
    return ChosenResampling.model_validate_json(_read(project / BUILD / name / "resampling.json", "compare"))


def chosen_scorer(name: str, project: Path = Path()) -> ScorerDeclaration:
    """The declared scorer, with the chosen way to rebalance in place of `auto`."""
    declared = declared_scorer(name, project / PARAMS)
    return declared.model_copy(update={"resampling": chosen_resampling(name, project).resampling})


def chosen_model(name: str, project: Path = Path()) -> Model:
    """XGBoost's parameters, as chosen by the stage tune; raises StageError if that stage did not run."""
    return Model.model_validate_json(_read(project / BUILD / name / "tuned.json", "tune"))


def _read(path: Path, stage: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StageError(
            f"{path} cannot be read: {error.strerror}; run python -m training.{stage} {path.parent.name}, or dvc repro"
        ) from error
