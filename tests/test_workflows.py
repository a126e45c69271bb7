"""The workflows of GitHub Actions name what exists, ask for no more than they need, and pass their linters."""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ruamel.yaml import YAML

from training import history, monitor, retrain
from training.monitor import EXIT_STATUS
from training.retrain import CANNOT_TELL, NOTHING_NEW, REFUSED, STATUS

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
SCRIPTS = sorted((ROOT / ".github" / "scripts").glob("*.sh"))
AUTOMATION = (ROOT / "docs" / "automation.md").read_text(encoding="utf-8")
MONITORING = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
ACTIONS = {"actions/checkout", "actions/cache", "actions/upload-artifact", "aws-actions/configure-aws-credentials"}
# What every runner sets.
RUNNERS_OWN = re.compile(r"GITHUB_\w+|RUNNER_TEMP|PWD")


def read(workflow: Path) -> dict[str, Any]:
    """A workflow; `on` is a key like any other in YAML 1.2."""
    content: dict[str, Any] = YAML(typ="safe").load(workflow)
    return content


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every job, by workflow and name."""
    for workflow in WORKFLOWS:
        for name, job in read(workflow)["jobs"].items():
            yield f"{workflow.name}: {name}", job


def steps() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every step, with its job."""
    for place, job in jobs():
        for step in job.get("steps", ()):
            yield f"{place}: {step['name']}", job, step


RUNS = {
    place: (step["run"], {**job.get("env", {}), **step.get("env", {})}) for place, job, step in steps() if "run" in step
}
SHELL = [text for text, _ in RUNS.values()] + [script.read_text() for script in SCRIPTS]


def matches(pattern: str) -> set[str]:
    """What a pattern finds in all that the workflows run, except comments."""
    lines = [line for text in SHELL for line in text.splitlines() if not line.lstrip().startswith("#")]
    return {match for line in lines for match in re.findall(pattern, line)}


def test_every_action_is_pinned() -> None:
    """Each is pinned to one commit everywhere, with its version in a comment; there are only these four."""
    lines = {line for path in WORKFLOWS for line in re.findall(r"uses: ([^.\n].*)", path.read_text())}
    pins = [re.fullmatch(r"([\w/-]+)@[0-9a-f]{40} # v\d+\.\d+\.\d+", line) for line in lines]
    assert sorted(pin[1] for pin in pins if pin) == sorted(ACTIONS)
    assert all(pins)


def test_nothing_is_written_into_a_script() -> None:
    """Values of a person or an event reach it through the environment."""
    assert [place for place, (text, _) in RUNS.items() if "${{" in text] == []


def test_every_job_has_its_limits() -> None:
    """A workflow grants no permission; each job asks for its own and, unless it calls a workflow, has a timeout."""
    assert [read(workflow)["permissions"] for workflow in WORKFLOWS] == [{}] * len(WORKFLOWS)
    for place, job in jobs():
        assert "permissions" in job, place
        if "uses" not in job:
            assert job["runs-on"] == "ubuntu-24.04", place
            assert 0 < job["timeout-minutes"] <= 120, place


def test_no_checkout_keeps_credentials() -> None:
    """Only the step that pushes has a token."""
    checkouts = [step for _, _, step in steps() if "checkout" in step.get("uses", "")]
    assert len(checkouts) == 8
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_every_make_target_exists() -> None:
    """Each is in the Makefile."""
    targets = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = matches(r"\bmake (?:--[\w-]+ )*([\w./-]+)")
    assert {"env", "deploy-check", "build", "release", "promote", ".venv-sam/.installed"} <= named <= targets


def test_every_module_exists() -> None:
    """`python -m` finds it."""
    named = matches(r"python -m ([\w.]+)")
    commands = {"training.history", "training.monitor", "training.prepare", "training.retrain"}
    assert {"training.declaration", "benchmarks.pages", *commands} == named
    assert all(importlib.util.find_spec(name) for name in named)


@pytest.mark.parametrize(("command", "script"), [(monitor, "monitor"), (retrain, "retrain"), (history, "load-history")])
def test_every_option_exists(
    command: ModuleType, script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is in the module's own help."""
    text = next(path for path in SCRIPTS if path.stem == script).read_text()
    monkeypatch.setattr(sys, "argv", [command.__name__, "--help"])
    with pytest.raises(SystemExit):
        command.main()
    shown = capsys.readouterr().out
    options = {
        option
        for line in text.splitlines()
        if not re.search("#|aws |date ", line)
        for option in re.findall(r"--\w+", line)
    }
    assert options
    assert all(option in shown for option in options)


@pytest.mark.parametrize(
    ("name", "statuses"), [("monitor", set(EXIT_STATUS.values())), ("retrain", {NOTHING_NEW, *STATUS.values()})]
)
def test_every_exit_status_is_the_modules(name: str, statuses: set[int]) -> None:
    """No more and no less."""
    script = next(path for path in SCRIPTS if path.stem == name).read_text()
    assert set(map(int, re.findall(r"^  (\d+)\)", script, re.MULTILINE))) == statuses


def test_every_named_file_exists() -> None:
    """Each script is used and executable; what a retraining's pull request commits is in the repository."""
    assert matches(r"\.github/scripts/([\w-]+\.sh)") == {path.name for path in SCRIPTS}
    assert all(os.access(path, os.X_OK) for path in SCRIPTS)
    assert (ROOT / ".ci" / "run").exists()
    (committed,) = matches(r"git add (.*)")
    assert all((ROOT / path).exists() for path in committed.split())


def test_a_cache_depends_on_files_that_exist() -> None:
    """A pattern that matches nothing would hash to nothing."""
    keys = [step["with"]["key"] for _, _, step in steps() if "actions/cache" in step.get("uses", "")]
    assert keys
    for key in keys:
        patterns = re.findall(r"'([^']+)'", key)
        assert patterns
        assert all(list(ROOT.glob(pattern)) for pattern in patterns)


def test_what_is_deployed_to_is_configured() -> None:
    """A section of samconfig.toml for each environment."""
    configured = tomllib.loads((ROOT / "samconfig.toml").read_text())
    named = [job["with"]["environment"] for _, job in jobs() if "uses" in job]
    assert named == ["staging", "prod"]
    assert all(configured[name]["deploy"]["parameters"]["stack_name"] for name in named)


def test_the_page_documents_the_workflows() -> None:
    """It has their files, the schedule of the monitor, and the variables and secrets that they use and no others."""
    used = {name for path in WORKFLOWS for name in re.findall(r"\b(?:vars|secrets)\.(\w+)", path.read_text())}
    assert used == set(re.findall(r"^\| `([A-Z_]+)` \|", AUTOMATION, re.MULTILINE))
    assert all(f"`{path.name}`" in AUTOMATION for path in WORKFLOWS)
    assert read(FOLDER / "monitor.yml")["on"]["schedule"] == [{"cron": "0 6 * * 1"}]
    assert "Mondays, 06:00 UTC" in AUTOMATION


def test_the_exit_statuses_are_documented() -> None:
    """The monitor's in docs/monitoring.md, the gate's in docs/automation.md."""
    for state, status in EXIT_STATUS.items():
        assert re.search(rf"^\| {state} \| {status} \|", MONITORING, re.MULTILINE)
    assert f"status is {REFUSED} where it refuses, {CANNOT_TELL} where" in " ".join(AUTOMATION.split())


def variables_of(shell: str) -> set[str]:
    """The environment variables that a script reads, but for those that every runner sets."""
    return {name for name in re.findall(r"\$\{?!?([A-Z_]{2,})", shell) if not RUNNERS_OWN.fullmatch(name)}


def test_every_step_sets_the_variables_that_are_read() -> None:
    """They are read by its own lines or by the scripts that these run, or are checked by require.sh."""
    assert all(any(script.name in text for text, _ in RUNS.values()) for script in SCRIPTS)
    for place, (text, variables) in RUNS.items():
        checked = set(text.split()[1:]) if "require.sh" in text else set()
        assert variables_of(text) | checked <= set(variables), place
        for script in SCRIPTS:
            if script.name in text:
                assert variables_of(script.read_text()) <= set(variables), (place, script.name)


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """What `make lint-workflows` says of a folder."""
    if not (ROOT / ".venv-lint").exists():
        pytest.skip("there is no .venv-lint; `make test` installs it")
    command = ["make", "lint-workflows", f"WORKFLOWS={folder}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


needs_shellcheck = pytest.mark.skipif(platform.machine() != "x86_64", reason="shellcheck has no wheel for it")


@pytest.mark.parametrize(
    ("right", "wrong", "sentence"),
    [
        ("timeout-minutes: 90", "time-out-minutes: 90", "time-out-minutes"),
        ("bash .ci/run", "bash .ci/run ${{ github.event.pull_request.title }}", "template-injection"),
        pytest.param("bash .ci/run", "bash .ci/run $TARGET", "SC2086", marks=needs_shellcheck),
        ("@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2", "@v6", "unpinned-uses"),
        ("persist-credentials: false", "fetch-depth: 1", "artipacked"),
        ("permissions: {}", "permissions: write-all", "excessive-permissions"),
    ],
)
def test_a_mistake_is_refused(right: str, wrong: str, sentence: str, tmp_path: Path) -> None:
    """It is made in a copy, and refused by the linter that detects it."""
    workflow = (FOLDER / "test.yml").read_text()
    assert right in workflow
    folder = Path(shutil.copytree(FOLDER, tmp_path / "workflows"))
    (folder / "test.yml").write_text(workflow.replace(right, wrong))
    done = lint(folder)
    assert done.returncode != 0
    assert sentence in done.stdout + done.stderr
