"""The command that writes a model card."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from training.card import main

PROJECT = Path(__file__).parents[2]
FILES = ("card.md", "card.html")


@pytest.fixture
def project(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the output of the other stages and no card."""
    for part in ("reports", "build/bundles"):
        shutil.copytree(trained / part, tmp_path / part, ignore=shutil.ignore_patterns("card.*"))
    shutil.copy(trained / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_command_writes_both_files_and_prints_the_verdict(trained_output: tuple[Path, dict[str, str]]) -> None:
    """Each file names the bundle's version, and the output says whether the policy was kept."""
    trained, printed = trained_output
    assert "reports/mini/card.html: On the test window recall was" in printed["card"]
    version = json.loads((trained / "build/bundles/mini/manifest.json").read_text())["version"]
    assert all(version in (trained / "reports/mini" / file).read_text() for file in FILES)


def test_card_is_the_same_in_every_process(project: Path, trained: Path) -> None:
    """Hash seeds and a user's plot settings do not change a byte, and pyplot is not imported."""
    (project / "matplotlibrc").write_text("font.size: 20\nsvg.hashsalt: other\n")
    command = "import sys; from training.card import main; main('mini'); sys.exit('matplotlib.pyplot' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": "1", "MATPLOTLIBRC": str(project)}
    subprocess.run([sys.executable, "-c", command], env=environment, check=True)
    for file in FILES:
        assert (project / "reports/mini" / file).read_bytes() == (trained / "reports/mini" / file).read_bytes()


def test_missing_comparisons_stop_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The card is made from the reports that exist."""
    for stem in ("selection", "resampling", "tuning"):
        (project / f"reports/mini/{stem}.json").unlink()
    main("mini")
    assert "were not compared" in (project / "reports/mini/card.html").read_text()
    assert "On the test window recall was" in capsys.readouterr().out
