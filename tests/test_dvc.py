"""dvc.yaml against the code: a stage that does not list what it imports would not run again when that changes."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.imports import imported_names
from training.declaration import ScorerDeclaration, read_declarations
from training.delivery.tracking import registered_name

PROJECT = Path(__file__).parents[1]
OURS = ("handler", "training")
PIPELINE: dict[str, Any] = YAML(typ="safe", pure=True).load(PROJECT / "dvc.yaml")
STAGES: dict[str, Any] = PIPELINE["stages"]


def module_path(module: str) -> Path | None:
    """The file of one of our modules, relative to the project; None for a package or anybody else's module."""
    path = Path(*module.split(".")).with_suffix(".py")
    return path if module.startswith(OURS) and (PROJECT / path).is_file() else None


def needed_modules(path: Path) -> set[Path]:
    """A file and, transitively, the files of our modules that it imports."""
    modules, queue = set[Path](), [path]
    while queue:
        current = queue.pop()
        if current not in modules:
            modules.add(current)
            queue += filter(None, map(module_path, imported_names(PROJECT / current)))
    return modules


def listed_code(stage: dict[str, Any]) -> list[Path]:
    """Our code on which a stage depends: files, and folders with all that is in them."""
    return [Path(dep) for dep in stage["do"]["deps"] if dep.startswith(OURS)]


@pytest.fixture(params=STAGES)
def name(request: pytest.FixtureRequest) -> str:
    """The name of one stage, each in turn."""
    return str(request.param)


def test_stage_runs_the_module_of_its_name_for_every_scorer(name: str) -> None:
    """It names no scorer, and has a copy for each of params.yaml."""
    assert STAGES[name]["do"]["cmd"] == f"python -m training.{name} ${{key}}"
    assert STAGES[name]["foreach"] == "${scorers}"
    assert not any(scorer in str(STAGES[name]) for scorer in read_declarations(PROJECT / "params.yaml").scorers)


def test_deps_cover_the_imports(name: str) -> None:
    """Each file that a stage imports, directly or not, is listed, or its folder is; nothing else is."""
    listed = listed_code(STAGES[name])
    needed = needed_modules(Path("training", f"{name}.py"))
    assert {module for module in needed if not {module, *module.parents} & set(listed)} == set()
    assert [entry for entry in listed if not any(entry in {module, *module.parents} for module in needed)] == []


def test_no_record_makes_a_stage_run() -> None:
    """Records, releases and answers do not affect a model. The handler's history does: it checks the features."""
    for stage in STAGES.values():
        of_handler = [entry for entry in listed_code(stage) if entry.parts[0] == "handler"]
        assert {entry.parts[1] for entry in of_handler} <= {"scoring", "history"}


def test_versions_of_libraries_are_deps(name: str) -> None:
    """Another version of a numerical library makes each stage run again; that of any other library does not."""
    assert "requirements-model.lock" in STAGES[name]["do"]["deps"]
    assert "requirements.lock" not in STAGES[name]["do"]["deps"]
    pinned, others = (
        set(re.findall(r"^([a-z0-9-]+)==", (PROJECT / lock).read_text(), flags=re.MULTILINE))
        for lock in ("requirements-model.lock", "requirements.lock")
    )
    assert pinned >= {"xgboost-cpu", "scikit-learn", "imbalanced-learn", "numpy", "pandas", "duckdb"}
    assert {"ruff", "mypy", "pytest"} <= others
    assert not pinned & others


def test_rows_of_another_scorer_leave_a_stage_alone() -> None:
    """Rows are prepared from the scorer's own file; only catalogues are looked for in all of data/."""
    assert "${item.data}" in STAGES["prepare"]["do"]["deps"]
    assert [name for name, stage in STAGES.items() if "data" in stage["do"]["deps"]] == ["catalogue"]


def test_walk_follows_imports() -> None:
    """The walk sees through a module in between: package imports the booster by way of the bundle."""
    direct = set(map(module_path, imported_names(PROJECT / "training" / "package.py")))
    assert Path("handler/scoring/booster.py") not in direct
    assert Path("handler/scoring/booster.py") in needed_modules(Path("training/package.py"))


def test_deps_are_listed_once_and_in_order(name: str) -> None:
    """Nothing is listed twice, neither by itself nor with its folder; our code is in alphabetical order."""
    deps = STAGES[name]["do"]["deps"]
    assert len(deps) == len(set(deps))
    code = listed_code(STAGES[name])
    assert [str(entry) for entry in code] == sorted(map(str, code))
    assert not any(set(entry.parents) & set(code) for entry in code)


def test_params_are_the_keys_of_a_scorer() -> None:
    """Every scorer has each listed key; a change of any key runs a stage, except for the keys that no stage reads."""
    params = {param for stage in STAGES.values() for param in stage["do"]["params"]}
    keys = {param.removeprefix("scorers.${key}.") for param in params}
    assert keys == set(ScorerDeclaration.model_fields) - {"monitoring", "gate", "owner"}
    declared = YAML(typ="safe", pure=True).load(PROJECT / "params.yaml")["scorers"]
    assert all(keys <= scorer.keys() for scorer in declared.values())


def test_stages_feed_each_other() -> None:
    """What a stage reads from build/ or reports/ is, or lies in, an output of an earlier stage."""
    outputs: list[str] = []
    for stage in STAGES.values():
        for dep in stage["do"]["deps"]:
            if dep.startswith(("build/", "reports/")):
                assert any(dep == out or dep.startswith(f"{out}/") for out in outputs), dep
        for kind in ("outs", "metrics", "plots"):
            outputs += [out if isinstance(out, str) else next(iter(out)) for out in stage["do"].get(kind, [])]


def test_artifacts_are_bundles_of_declared_scorers() -> None:
    """Each has its name in MLflow and is an output of `package`; the shipped scorers have one each."""
    scorers = read_declarations(PROJECT / "params.yaml").scorers
    packaged = {out if isinstance(out, str) else next(iter(out)) for out in STAGES["package"]["do"]["outs"]}
    assert "build/bundles/${key}" in packaged
    bundles = {registered_name(scorer): f"build/bundles/{scorer}" for scorer in scorers}
    declared = {name: artifact["path"] for name, artifact in PIPELINE["artifacts"].items()}
    assert declared.items() <= bundles.items()
    assert {registered_name("transaction"), registered_name("refund")} <= declared.keys()
    assert {artifact["type"] for artifact in PIPELINE["artifacts"].values()} == {"model"}
