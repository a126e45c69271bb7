"""The Makefile: which variables count as typed, how they reach commands, the order of targets, paths, and machines."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")
TYPED = re.findall(r"^TYPED := ((?:.+\\\n)*.+)$", MAKEFILE, re.MULTILINE)[0].replace("\\", "").split()
EITHER = ("STORE", "SIGNING_KEY", "BENCHMARK_DATA", "HISTORY")
DEFAULTS = {"ARCHITECTURE": "x86_64", "BUILD_DIR": ".aws-sam/build"}
# Variables that the make or the machine that runs the tests may set.
OF_THE_GATE = ("MAKEFLAGS", "MAKELEVEL", "UV_CACHE_DIR", "XDG_CACHE_HOME")
# Our Makefile with further targets; `show` prints a recipe's environment as JSON.
SHOW = """include Makefile
show:
	@python3 -c 'import json, os; print(json.dumps(dict(os.environ)))'
slow:
	@sleep 0.5; echo slow
fast:
	@echo fast
"""


def make(*arguments: str, makefile: str = "", folder: Path = PROJECT, **environment: str) -> str:
    """What make prints on both streams; it reads a makefile that is given, or else the folder's."""
    command = ["make", "--no-print-directory", *(("-f", "-") if makefile else ()), *arguments]
    outer = {name: value for name, value in os.environ.items() if name not in {*TYPED, *OF_THE_GATE}}
    done = subprocess.run(
        command,
        cwd=folder,
        env=outer | environment,
        input=makefile,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.stdout


def recipe_environment(*arguments: str, **environment: str) -> dict[str, str]:
    """The environment that a recipe's commands have."""
    content: dict[str, str] = json.loads(make("show", *arguments, makefile=SHOW, **environment))
    return content


def executable(path: Path, script: str) -> None:
    """Write a shell script that stands for a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("options", [(), ("--environment-overrides",)])
def test_environment_does_not_count_as_typed(options: tuple[str, ...]) -> None:
    """Containers and CI systems may have their own VERSION or LOG; only STORE and the like may come from there."""
    content = recipe_environment(*options, **dict.fromkeys((*TYPED, *EITHER), "junk"))
    assert {name: content.get(name, "") for name in TYPED} == dict.fromkeys(TYPED, "") | DEFAULTS
    assert {content[name] for name in EITHER} == {"junk"}


@pytest.mark.parametrize("value", ["$amount", "$$", "a 'b' \"c\" `d`", "$(shell echo no) (b) & c; #d", "é\\ %20"])
def test_typed_value_arrives_as_it_is(value: str) -> None:
    """Neither make nor a shell expands the name of a file or column, whatever it contains."""
    content = recipe_environment(*(f"{name}={value}" for name in (*TYPED, *EITHER)))
    assert {content[name] for name in (*TYPED, *EITHER)} == {value}


def test_function_keeps_its_variables() -> None:
    """`make serve` passes the function's own variables on, such as the bundles of a try."""
    assert recipe_environment(BUNDLES="/a try/build/bundles")["BUNDLES"] == "/a try/build/bundles"


def test_ignored_variable_is_named() -> None:
    """FORCE=... before make is ignored, with a hint to type it after; variables that a target ignores are not named."""
    printed = make("-n", "promote", "SCORER=refund", FORCE="1", TIME="%E")
    assert "make promote ignores FORCE from the environment: pass it as an argument (make promote FORCE=...)" in printed
    assert "ignores" not in make("-n", "promote", "SCORER=refund", "FORCE=1", TIME="%E")
    assert "ignores" not in make("-n", "releases", FORCE="1")


def test_each_recipe_names_the_variables_that_it_takes() -> None:
    """If a typed variable that a recipe reads is only in the environment, the recipe names it."""
    for target, recipe in re.findall(r"^([a-z-]+):[^\n=]*\n((?:\t[^\n]*\n)+)", MAKEFILE, re.MULTILINE):
        taken = {name for name in TYPED if re.search(rf"\$\$\{{?{name}\b", recipe)}
        named = {name for names in re.findall(r"\$\(call name_ignored,([A-Z_ ]+)\)", recipe) for name in names.split()}
        assert target == "build-FraudFunction" or taken == named, target


@pytest.mark.parametrize("how", [("-j8",), ()], ids=["typed", "from the environment"])
def test_targets_follow_each_other(how: tuple[str, ...]) -> None:
    """Even with -j training comes before packing; only `make test` asks for two targets side by side."""
    environment = {} if how else {"MAKEFLAGS": "-j8"}
    assert make(*how, "slow", "fast", makefile=SHOW, SIDE_BY_SIDE="yes", **environment).split() == ["slow", "fast"]
    printed = make("-n", *how, "build", **environment)
    assert -1 < printed.index("dvc repro") < printed.index("sam build")
    assert make("-j2", "slow", "fast", "SIDE_BY_SIDE=yes", makefile=SHOW).split() == ["fast", "slow"]


def test_variables_of_the_machine_do_not_break_commands(tmp_path: Path) -> None:
    """A hardened image may forbid modules in this folder or writing compiled ones; a home folder may be missing."""
    content = recipe_environment(PYTHONSAFEPATH="1", PYTHONDONTWRITEBYTECODE="1", HOME=str(tmp_path))
    assert not {"PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE"} & content.keys()
    assert "UV_CACHE_DIR" not in content
    assert recipe_environment(HOME="/proc/nowhere")["UV_CACHE_DIR"] == str(PROJECT / ".uv" / "cache")
    assert recipe_environment(HOME="/proc/nowhere", UV_CACHE_DIR="/cache")["UV_CACHE_DIR"] == "/cache"


def test_user_without_a_name_has_its_number(tmp_path: Path) -> None:
    """A container may run as a number that no account has, but DVC and MLflow need a user name."""
    executable(tmp_path / "id", "echo 12345; exit 1")
    nameless = dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), "")
    content = recipe_environment(**nameless, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert content["LOGNAME"] == "12345"
    assert recipe_environment(**nameless | {"USER": "ada"})["USER"] == "ada"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout with the Makefile, in a folder whose name has blanks and parentheses; no Git, no packages."""
    folder = tmp_path / "a (b) c"
    folder.mkdir()
    shutil.copy(PROJECT / "Makefile", folder)
    locks = ("requirements-uv.lock", "requirements.lock", "requirements-model.lock")
    for name in (*locks, ".venv/.installed", ".uv/bin/uv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / ".dvc").mkdir()
    return folder


def test_failed_try_ends_with_its_own_sentence(folder: Path) -> None:
    """Make adds no line of its own, such as "Error 1"."""
    executable(folder / ".venv/bin/python", 'echo "try: it does not exist" >&2; exit 1')
    assert make("try", folder=folder) == "try: it does not exist\n"


def test_artifact_is_built_where_paths_have_blanks(folder: Path) -> None:
    """Each file goes where it belongs, and nothing beside the artifact is removed."""
    executable(folder / ".venv/bin/python", '[ "$2" != training.declaration ] || echo mini')
    executable(folder / ".venv/bin/uv", 'mkdir -p "$5/xgboost/lib" "$5/xgboost/core" "$5/bin"; touch "$5/.lock"')
    for name in ("build/bundles/mini/manifest.json", "handler/scoring/app.py"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
    artifact = folder / "an artifact's"
    path = f"{folder / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    printed = make("build-FraudFunction", folder=folder, ARTIFACTS_DIR=str(artifact), PATH=path)
    assert "artifact: 0.0 MB unzipped" in printed
    assert sorted(str(file.relative_to(artifact)) for file in artifact.rglob("*") if not any(file.glob("*"))) == [
        "build/bundles/mini/manifest.json",
        "handler/scoring/app.py",
        "xgboost/lib",
    ]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["a (b) c"]


def test_paths_are_quoted() -> None:
    """Make itself expands no path of a user or of SAM into a recipe, where a shell would parse it."""
    recipes = "".join(line for line in MAKEFILE.splitlines(keepends=True) if line.startswith("\t"))
    assert not re.search(r"\$\((ARTIFACTS_DIR|BUILD_DIR|CURDIR|MAKEFILE_LIST)\)", recipes)
    unquoted = re.sub(r'"[^"\n]*"', "", recipes)
    assert not re.search(r"\$\$(ARTIFACTS_DIR|BUILD_DIR)", unquoted)


@pytest.mark.parametrize(
    ("message", "is_other_data"),
    [
        ("ERROR: failed to commit data.dvc - unable to commit changed stage: 'data.dvc'.", True),
        ("ERROR: Unable to acquire lock. Most likely another DVC process is running", False),
        ("ERROR: [Errno 28] No space left on device", False),
    ],
)
def test_data_say_why_dvc_failed(folder: Path, message: str, *, is_other_data: bool) -> None:
    """DVC's own words are shown; only if they say so does make report that data.dvc pins other data."""
    executable(folder / ".venv/bin/python", "mkdir data")
    executable(folder / ".venv/bin/dvc", f'[ "$1" != commit ] || {{ echo "{message}" >&2; exit 1; }}')
    printed = make("data", folder=folder)
    assert message in printed
    assert ("data.dvc pins data other than the synthetic data" in printed) is is_other_data
    assert not (folder / "data").exists()


def test_dvc_is_told_where_there_is_no_git(folder: Path) -> None:
    """A downloaded archive is no Git repository: DVC works without Git until there is one, and make says so once."""
    executable(folder / ".venv/bin/python", "mkdir data")
    executable(
        folder / ".venv/bin/dvc",
        'echo "$*" >>calls\n[ "$*" != "config --local core.no_scm true" ] || echo "no_scm = true" >.dvc/config.local',
    )
    outside = {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    assert make("data", folder=folder, **outside).startswith("Git cannot read a repository here: DVC")
    assert make("data", folder=folder, **outside) == ""
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    assert make("data", folder=folder, **outside) == ""
    assert [line for line in (folder / "calls").read_text().splitlines() if line.startswith("config")] == [
        "config --local core.no_scm true",
        "config --quiet --local --unset core.no_scm",
    ]


def test_line_ends_are_the_same_everywhere(tmp_path: Path) -> None:
    """With core.autocrlf=true a checkout has no CRLF: make and shells cannot read it, and it changes DVC's hashes."""
    if not (PROJECT / ".git").exists():
        pytest.skip("this folder is no Git repository")
    clone = ["git", "-c", "core.autocrlf=true", "clone", "--quiet", str(PROJECT), str(tmp_path / "clone")]
    subprocess.run(clone, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "--eol"], cwd=tmp_path / "clone", capture_output=True, text=True, check=True
    )
    assert "w/crlf" not in listed.stdout
