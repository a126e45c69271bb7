"""Choices made on the folds, read back from the stages' files."""

from pathlib import Path

import pytest

from training.errors import StageError
from training.model.chosen import ChosenResampling, chosen_model, chosen_resampling, chosen_scorer
from training.params import Model, Resampling


@pytest.fixture
def build(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mini scorer's empty build folder; the working folder is its project, which declares `method: auto`."""
    monkeypatch.chdir(project)
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("{method: smote, ratio: 0.3, neighbours: 3}", "{method: auto}"))
    folder = project / "build" / "mini"
    folder.mkdir(parents=True)
    return folder


def test_the_choice_takes_the_place_of_auto(build: Path) -> None:
    """The scorer has the resampling that the folds chose; everything else is as declared."""
    chosen = ChosenResampling(resampling=Resampling(method="undersample", ratio=0.1), rounds=70)
    (build / "resampling.json").write_text(chosen.model_dump_json(indent=1))
    scorer = chosen_scorer("mini")
    assert scorer.resampling == Resampling(method="undersample", ratio=0.1)
    assert (scorer.model.rounds, scorer.seed) == (20, 7)
    assert chosen_resampling("mini") == chosen


def test_the_tuned_model_is_read(build: Path) -> None:
    """The model's parameters are those that tuning wrote."""
    (build / "tuned.json").write_text(Model(rounds=30).model_dump_json(indent=1))
    assert chosen_model("mini") == Model(rounds=30)


@pytest.mark.usefixtures("build")
def test_a_stage_that_did_not_run_is_named() -> None:
    """If a stage's file is missing, the message names the command that writes it."""
    message = "^build/mini/{} cannot be read: No such file or directory; run python -m training.{} mini, or dvc repro$"
    with pytest.raises(StageError, match=message.format("resampling.json", "compare")):
        chosen_scorer("mini")
    with pytest.raises(StageError, match=message.format("tuned.json", "tune")):
        chosen_model("mini")
