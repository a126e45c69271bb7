"""Every benchmark's command runs to its end in its smallest form, and the Makefile names only what exists."""

import importlib
import re
from pathlib import Path

import pytest

from benchmarks import command
from benchmarks.quality.sets import FOLDER

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
# By what they need beyond the virtual environment and the trained bundles. `releases.swaps` runs in test_swaps.py.
COMMANDS = {
    "serving.speed": (ROOT / ".venv-sam", ROOT / ".venv-runtime"),
    "serving.robustness": (),
    "serving.batch": (),
    "monitoring.alarms": (),
    "monitoring.recording": (),
    "monitoring.cost": (),
    "monitoring.backtests": (),
    "training.stages": (),
    "training.reader": (),
    "training.repro": (FOLDER / "handbook_simulated.parquet",),
    "quality.published": (),
}


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("name", COMMANDS)
def test_every_benchmark_runs_to_its_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few calls and rows, in this process; no report is written."""
    if missing := [str(path) for path in COMMANDS[name] if not path.exists()]:
        pytest.skip(f"{', '.join(missing)} is absent; `make test` and BENCHMARK_DATA bring it")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(command, "write_json", lambda path, _: pytest.fail(f"{path} was written"))
    importlib.import_module(f"benchmarks.{name}").main(["--smallest"])


def test_every_command_is_tested() -> None:
    """Each module of benchmarks/ that ends in a call of main and takes the common options."""
    commands = {
        ".".join(path.relative_to(ROOT / "benchmarks").with_suffix("").parts)
        for path in (ROOT / "benchmarks").rglob("*.py")
        if "options_of(" in path.read_text(encoding="utf-8") and path.stem != "command"
    }
    assert commands == {*COMMANDS, "releases.swaps"}


def test_every_module_of_the_makefile_exists() -> None:
    """As `python -m` finds it, and every benchmark's command but batch's has a target."""
    modules = set(re.findall(r"\$\(PYTHON\) -m ([\w.]+)", MAKEFILE))
    assert all(importlib.util.find_spec(module) for module in modules)
    commands = {f"benchmarks.{name}" for name in (*COMMANDS, "releases.swaps") if name != "serving.batch"}
    assert commands <= modules


def test_the_smallest_run_records_nothing() -> None:
    """The two options exclude each other."""
    with pytest.raises(SystemExit):
        command.options_of("x", "", {}, ["--smallest", "--record"])


def test_a_budget_that_is_exceeded_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """But in the smallest run, whose figures mean nothing, and of which nothing is kept."""
    sizes = {"turns": (3, 1)}
    full, smallest = (command.options_of("x", "", sizes, arguments) for arguments in ([], ["--smallest"]))
    assert (full.turns, smallest.turns) == (3, 1)
    written: list[Path] = []
    monkeypatch.setattr(command, "write_json", lambda path, _: written.append(path))
    command.keep("x", {}, smallest, ["16 µs"])
    assert not written
    command.keep("x", {}, full)
    with pytest.raises(SystemExit, match="OVER BUDGET: 16 µs"):
        command.keep("x", {}, full, ["16 µs"])
    assert written == [ROOT / "build" / "benchmarks" / "x.json"] * 2
