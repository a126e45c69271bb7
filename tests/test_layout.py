"""Imports point downward, nobody imports a command, `handler` never imports `training`; names say what they hold."""

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.imports import imported_names

ROOT = Path(__file__).parents[1]

# From top to bottom. Packages on the same line must not import each other.
TRAINING: tuple[tuple[str, ...], ...] = (
    ("training.monitoring",),
    ("training.delivery",),
    ("training.report", "training.batch", "training.intake", "training.model"),
    ("training.data",),
    ("training.evaluation",),
    ("training.run",),
    ("training.declaration",),
    ("training.params", "training.monotone"),
    ("training.errors",),
)
HANDLER: tuple[tuple[str, ...], ...] = (
    ("handler.app",),
    ("handler.web",),
    ("handler.settings",),
    ("handler.releases",),
    ("handler.records", "handler.history"),
    ("handler.scoring",),
)
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("training", "handler")
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py"
)


def path_of(module: str) -> Path:
    """The file of a module."""
    return (ROOT / Path(*module.split("."))).with_suffix(".py")


def imported(module: str) -> set[str]:
    """The modules of ours that a module imports."""
    return {name for name in imported_names(path_of(module)) if name in MODULES}


def floor(module: str, order: tuple[tuple[str, ...], ...]) -> tuple[int, str] | None:
    """How far down a module is and the package that it belongs to; None for a command."""
    for depth, packages in enumerate(order):
        for package in packages:
            if module == package or module.startswith(f"{package}."):
                return depth, package
    return None


COMMANDS = {module for module in MODULES if module.startswith("training.") and floor(module, TRAINING) is None}


def faults(module: str, names: Iterable[str]) -> list[str]:
    """What is wrong with the modules that a module imports."""
    sentences = []
    order = HANDLER if module.startswith("handler.") else TRAINING
    place = floor(module, order)
    for name in names:
        if module.startswith("handler.") and name.startswith("training."):
            sentences.append(f"{module} imports {name}: handler must not import training")
        elif name in COMMANDS:
            sentences.append(f"{module} imports {name}, a command")
        elif place and name.startswith(module.split(".", maxsplit=1)[0]):
            other = floor(name, order)
            assert other is not None
            if other[0] < place[0] or (other[0] == place[0] and other[1] != place[1]):
                sentences.append(f"{module} imports {name}, which is not below it")
    return sentences


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downward(module: str) -> None:
    """A module imports only modules of its own package or of packages below it, and no command."""
    assert faults(module, imported(module)) == []


def test_there_is_no_circle() -> None:
    """No module imports itself by way of others, not even inside a function."""
    arrows = {module: imported(module) - {module} for module in MODULES}
    while leaves := {module for module, names in arrows.items() if not names}:
        arrows = {module: names - leaves for module, names in arrows.items() if module not in leaves}
    assert arrows == {}


@pytest.mark.parametrize(
    ("module", "name", "fault"),
    [
        ("handler.app", "training.errors", ": handler must not import training"),
        ("training.model.fit", "training.train", ", a command"),
        ("training.card", "training.train", ", a command"),
        ("training.run.files", "training.data.checked_source", ", which is not below it"),
        ("training.model.fit", "training.report.html", ", which is not below it"),
        ("handler.scoring.bundle", "handler.records.record", ", which is not below it"),
    ],
)
def test_a_wrong_import_is_reported(module: str, name: str, fault: str) -> None:
    """The sentence has both modules and the rule; allowed imports beside it are not reported."""
    allowed = ["training.errors"] if module.startswith("training.") else ["handler.scoring.contract"]
    assert faults(module, [name, *allowed]) == [f"{module} imports {name}{fault}"]


def test_facts_are_declared_once() -> None:
    """Seconds per hour and day, the limits of valid times, the fewest frauds, a folder: each is in one module."""
    facts = {"SECONDS_AN_HOUR", "SECONDS_A_DAY", "EARLIEST_SECONDS", "END_OF_TIMES", "FEW_FRAUDS", "REFIT", "JUDGED"}
    declared = [
        name.id
        for module in MODULES
        for node in ast.parse(path_of(module).read_text()).body
        if isinstance(node, ast.Assign)
        for name in ast.walk(node.targets[0])
        if isinstance(name, ast.Name) and name.id in facts
    ]
    assert sorted(declared) == sorted(facts)
    written = {module for module in MODULES if re.search("86_?400|2_?208_?988_?800", path_of(module).read_text())}
    assert written == {"handler.scoring.fields", "handler.scoring.times"}


def test_commands_are_the_root_of_training() -> None:
    """Every module of `training` that TRAINING does not list is at the root and a command: it runs by its name."""
    assert {"training.prepare", "training.monitor"} <= COMMANDS
    for module in COMMANDS:
        assert module.count(".") == 1
        assert 'if __name__ == "__main__":' in path_of(module).read_text(), module


def names_stored(node: ast.AST) -> list[str]:
    """The name that a node gives to a value: an assignment's target, or a parameter."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    return [node.arg] if isinstance(node, ast.arg) else []


@pytest.mark.parametrize("folder", ["handler", "training", "benchmarks", "tests"])
def test_local_names_say_what_they_hold(folder: str) -> None:
    """No variable or parameter has a name that fits any value."""
    stored = [
        f"{path.relative_to(ROOT)}:{node.lineno} {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in names_stored(node)
        if name in {"one", "found", "known", "asked", "told"}
    ]
    assert stored == []
