"""The workflows' scripts, with stand-ins for gh, aws, dvc and make that log how they were called."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from training.delivery import pointer
from training.monitor import EXIT_STATUS
from training.retrain import NOTHING_NEW, STATUS, RetrainReport, pull_request_text

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / ".github" / "scripts"
REFUSAL = {
    "scorer": "refund",
    "version": "f00",
    "champion": "ba5",
    "verdict": "refuse",
    "objections": ["it flags more than 1.5 times as much"],
    "doubts": [],
    "measured": {"alert_rate": {"champion": 0.1, "challenger": 0.2}},
}
AGREED = {**REFUSAL, "verdict": "promote", "objections": []}
UNDECIDED = {**AGREED, "verdict": "cannot tell", "doubts": ["the window has 7 frauds"]}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of main with a remote, in which a retraining has changed the data."""
    folder = tmp_path / "checkout"
    (folder / "reports" / "refund").mkdir(parents=True)
    (folder / "docs").mkdir()
    for name in ("data.dvc", "dvc.lock", "README.md", "docs/results.md", "reports/refund/metrics.json"):
        (folder / name).write_text("before\n")
    (folder / ".gitignore").write_text("/reports/*/monitor.*\n/reports/*/retrain.*\n")
    for command in (
        ["git", "init", "--quiet", "--bare", "../remote"],
        ["git", "init", "--quiet", "--initial-branch=main"],
        ["git", "remote", "add", "origin", "../remote"],
        ["git", "add", "."],
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "--message=Before"],
    ):
        subprocess.run(command, cwd=folder, check=True)
    (folder / "data.dvc").write_text("after\n")
    return folder


def write_program(path: Path, *lines: str) -> None:
    """Write an executable Bash script with these lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(("#!/bin/bash", *lines, "")))
    path.chmod(0o755)


@pytest.fixture
def run(checkout: Path, tmp_path: Path) -> Run:
    """Runs a script in the checkout with variables; each of `programs` logs its call, then runs its body."""

    def run_script(script: str, programs: dict[str, str], **variables: str) -> subprocess.CompletedProcess[str]:
        for name, body in programs.items():
            write_program(tmp_path / "bin" / name, f'echo "{name} $*" >>"{tmp_path}/calls"', body)
        environment = {
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_REPOSITORY": "owner/scorer",
            "GITHUB_RUN_ID": "7",
            "RUNNER_TEMP": "/temp",
            "HOME": str(tmp_path),
            "SCORER": "refund",
            **variables,
        }
        command = ["bash", "-eo", "pipefail", "-c", script]
        return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)

    return run_script


def called(tmp_path: Path) -> list[str]:
    """Every call, in order."""
    return (tmp_path / "calls").read_text().splitlines()


@pytest.mark.parametrize(("state", "status"), EXIT_STATUS.items())
def test_a_status_becomes_a_state(state: str, status: int, run: Run, checkout: Path, tmp_path: Path) -> None:
    """The next steps get it as an output; the summary has it with the reasons, none of them taken for Markdown."""
    program = f"echo 'refund: {state}'\necho '  # a reason'\nexit {status}"
    done = run(f"{SCRIPTS}/monitor.sh", {"python": program}, LOG="s3://log", STORE="s3://store")
    assert done.returncode == 0, done.stderr
    assert called(tmp_path) == ["python -m training.monitor refund s3://log --store s3://store"]
    assert (tmp_path / "output").read_text() == f"state={state}\n"
    summary = (tmp_path / "summary").read_text()
    assert summary == f"### refund: {state}\n\n    refund: {state}\n      # a reason\n"
    assert (checkout / "reports" / "refund" / "monitor.md").read_text() == summary


def test_the_past_of_every_scorer_with_a_history_is_loaded(run: Run, tmp_path: Path) -> None:
    """It is loaded from its own rows; the first failure ends the script."""
    lists = f'[ "$1" != -c ] || PYTHONPATH={ROOT} {sys.executable} "$@"'
    variables = {"HISTORY_ROWS": "s3://b/{scorer}.parquet", "HISTORY_TABLE": "past"}
    (tmp_path / "checkout" / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    done = run(f"{SCRIPTS}/load-history.sh", {"python": lists, "aws": "", "date": "echo 2026-01-31"}, **variables)
    assert done.returncode == 0, done.stderr
    calls = [call for call in called(tmp_path) if call.startswith(("aws", "python -m"))]
    assert calls == [
        call
        for scorer, data in (("transaction", "data/transactions.parquet"), ("refund", "data/refunds.parquet"))
        for call in (
            f"aws s3 cp --only-show-errors s3://b/{scorer}.parquet {data}",
            f"python -m training.prepare {scorer}",
            f"python -m training.history {scorer} --before 2026-01-31",
            f"python -m training.history {scorer} --load dynamodb://past",
        )
    ]
    programs = {"python": f'{lists}\n[ "$4" != --load ] || exit 1', "aws": "", "date": "echo 2026-01-31"}
    assert run(f"{SCRIPTS}/load-history.sh", programs, **variables).returncode == 1


@pytest.mark.parametrize(("script", "what"), [("monitor", "the monitor"), ("retrain", "the retraining")])
def test_a_command_that_fails_is_a_failure_of_the_job(script: str, what: str, run: Run, tmp_path: Path) -> None:
    """There is neither a state nor a verdict."""
    done = run(f"{SCRIPTS}/{script}.sh", {"python": "exit 1"}, LOG="log", ROWS="", STORE="store")
    assert done.returncode == 1
    assert f"::error::{what} of refund failed with exit status 1" in done.stdout
    assert not (tmp_path / "output").exists()


# Stands in for gh: lists the open issues, and prints the text given for an issue.
GH = """
case "$1 $2" in
  "issue list") printf '%b' "$ISSUES" ;;
  "issue create" | "issue comment") cat "${@: -1}" ;;
esac
"""


@pytest.mark.parametrize(
    ("issues", "call"),
    [
        ("", "gh issue create --title Monitoring: refund --label monitoring --body-file"),
        ("4\\tMonitoring: refund, last year\\n", "gh issue create --title Monitoring: refund --label monitoring"),
        ("4\\tOther\\n5\\tMonitoring: refund\\n3\\tMonitoring: refund\\n", "gh issue comment 5 --body-file"),
    ],
)
def test_a_watch_is_reported_once(issues: str, call: str, run: Run, checkout: Path, tmp_path: Path) -> None:
    """It is reported in the open issue of the scorer, or in a new one; nothing is retrained."""
    (checkout / "reports" / "refund" / "monitor.md").write_text("### refund: watch\n\n    a reason\n")
    done = run(f"{SCRIPTS}/tell.sh", {"gh": GH}, STATE="watch", LABELLED_ROWS="", ISSUES=issues)
    assert done.returncode == 0, done.stderr
    label, listed, report = called(tmp_path)
    assert label.startswith("gh label create monitoring")
    assert listed.startswith("gh issue list --label monitoring --state open")
    assert report.startswith(call)
    assert "    a reason" in done.stdout
    assert "https://github.example/owner/scorer/actions/runs/7" in done.stdout


@pytest.mark.parametrize(
    ("labelled", "rows"),
    [
        ("", ""),
        ("s3://bucket/{scorer}.parquet", "s3://bucket/refund.parquet"),
        ("s3://bucket/all.csv", "s3://bucket/all.csv"),
    ],
)
def test_a_retrain_is_started(labelled: str, rows: str, run: Run, checkout: Path, tmp_path: Path) -> None:
    """It gets the scorer's own new rows, if the variable names them."""
    (checkout / "reports" / "refund" / "monitor.md").write_text("### refund: retrain\n")
    done = run(f"{SCRIPTS}/tell.sh", {"gh": GH}, STATE="retrain", LABELLED_ROWS=labelled, ISSUES="")
    assert done.returncode == 0, done.stderr
    assert called(tmp_path)[-1] == f"gh workflow run retrain.yml -f scorer=refund -f rows={rows}"
    inputs = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "retrain.yml")["on"]["workflow_dispatch"]["inputs"]
    assert set(inputs) == {"scorer", "rows"}


RETRAIN = "python -m training.retrain refund --store s3://store --candidate"
FETCH = "aws s3 cp --only-show-errors s3://bucket/path/new rows.csv /temp/new rows.csv"
CALLS = {
    "": [RETRAIN],
    "data/new.csv": [f"{RETRAIN} --rows data/new.csv"],
    "s3://bucket/path/new rows.csv": [FETCH, f"{RETRAIN} --rows /temp/new rows.csv"],
}


@pytest.mark.parametrize("rows", CALLS)
@pytest.mark.parametrize("verdict", STATUS)
def test_a_status_becomes_a_verdict(verdict: str, rows: str, run: Run, checkout: Path, tmp_path: Path) -> None:
    """The next step gets it as an output, and the summary has the figures; new rows are fetched if they are in S3."""
    (checkout / "reports" / "refund" / "retrain.md").write_text("the table\n")
    programs = {"python": f"exit {STATUS[verdict]}", "aws": ""}
    done = run(f"{SCRIPTS}/retrain.sh", programs, ROWS=rows, STORE="s3://store")
    assert done.returncode == 0, done.stderr
    assert called(tmp_path) == CALLS[rows]
    assert (tmp_path / "output").read_text() == f"verdict={verdict}\n"
    assert (tmp_path / "summary").read_text() == "the table\n"


def test_nothing_new_is_nothing_to_propose(run: Run, tmp_path: Path) -> None:
    """If the model has already learned from the monitor's rows, the run succeeds, with a notice."""
    done = run(f"{SCRIPTS}/retrain.sh", {"python": f"exit {NOTHING_NEW}"}, ROWS="", STORE="store")
    assert done.returncode == 0
    assert "::notice::all new rows are already in the data" in done.stdout
    assert (tmp_path / "output").read_text() == "verdict=none\n"


PROPOSING = {
    "python": f'[ "$2" = benchmarks.pages ] || exec {sys.executable} "$@"',
    "dvc": 'if [ "$1" = metrics ]; then echo "| Path | Metric |"; fi',
    "gh": 'if [ "$1" = pr ]; then cat "${@: 10:1}"; fi',
}


@pytest.mark.parametrize("report", [AGREED, REFUSAL, UNDECIDED], ids=["agreed", "refused", "undecided"])
@pytest.mark.parametrize("is_tested", ["true", "false"])
def test_a_retraining_is_proposed(
    is_tested: str, report: dict[str, object], run: Run, checkout: Path, tmp_path: Path
) -> None:
    """It has its own branch, and the data is pushed first; it is a draft, reasons first, unless the gate agrees."""
    folder = checkout / "reports" / "refund"
    (folder / "retrain.json").write_text(json.dumps(report))
    (folder / "retrain.md").write_text(pull_request_text(RetrainReport.model_validate_json(json.dumps(report))))
    done = run(f"{SCRIPTS}/propose.sh", PROPOSING, VERDICT=str(report["verdict"]), IS_TESTED=is_tested)
    assert done.returncode == 0, done.stderr
    calls = [call for call in called(tmp_path) if not call.startswith("python -c")]
    assert calls[:4] == ["python -m benchmarks.pages", "dvc metrics diff main --md", "dvc push", "gh auth setup-git"]
    assert calls[4].startswith("gh pr create --base main --head retrain/refund-2")
    assert "--title Retrain refund: f00 " in calls[4]
    assert calls[4].endswith("--draft") == (report is not AGREED)
    assert ("- it flags more than 1.5 times as much" in done.stdout.splitlines()[:5]) == (report is REFUSAL)
    assert "| Path | Metric |" in done.stdout
    assert ("Close and reopen it" in done.stdout) == (is_tested == "false")
    log = ["git", "log", "--all", "--max-count=1", "--name-only", "--format=%an: %s"]
    pushed = subprocess.check_output(log, cwd=tmp_path / "remote", text=True)
    assert pushed == "github-actions[bot]: Retrain refund: f00\n\ndata.dvc\n"


TURNS = {"python": "echo transaction\necho refund", "date": "echo $NOW"}


@pytest.mark.parametrize(("week", "scorer"), [(0, "transaction"), (1, "refund"), (2, "transaction"), (2999, "refund")])
def test_scorers_take_turns(week: int, scorer: str, run: Run, tmp_path: Path) -> None:
    """The calendar selects one scorer a week, with its own new rows."""
    now, rows = str(week * 604_800 + 5), "s3://bucket/{scorer}.parquet"
    done = run(f"{SCRIPTS}/turn.sh", TURNS, SCORER="", ROWS="", LABELLED_ROWS=rows, NOW=now)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "output").read_text() == f"scorer={scorer}\nrows=s3://bucket/{scorer}.parquet\n"


def test_named_scorer_has_no_turn(run: Run, tmp_path: Path) -> None:
    """A scorer that is named is taken, with the rows that were named."""
    done = run(f"{SCRIPTS}/turn.sh", TURNS, SCORER="refund", ROWS="new.csv", LABELLED_ROWS="s3://bucket/all.csv")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "output").read_text() == "scorer=refund\nrows=new.csv\n"


def test_nothing_new_is_not_proposed(run: Run, checkout: Path, tmp_path: Path) -> None:
    """Nothing is pushed either."""
    (checkout / "data.dvc").write_text("before\n")
    done = run(f"{SCRIPTS}/propose.sh", PROPOSING, VERDICT="promote", IS_TESTED="true")
    assert done.returncode == 0, done.stderr
    assert "::notice::the retraining of refund changed nothing" in done.stdout
    assert called(tmp_path) == ["python -m benchmarks.pages"]


PROMOTING = """
case $3 in
  SCORER=transaction) echo "promote: f00 is current already" >&2; exit 2 ;;
  SCORER=refund) echo "promote: f00 is not promoted: it flags more" >&2; exit $REFUND ;;
esac
"""


@pytest.mark.parametrize("refund", [0, 2], ids=["all agreed", "one refused"])
def test_every_scorer_is_promoted(refund: int, run: Run, checkout: Path, tmp_path: Path) -> None:
    """A current version needs nothing; a refusal fails with its sentence, after every scorer had its turn."""
    write_program(checkout / ".venv" / "bin" / "python", "printf 'transaction\\nrefund\\n'")
    done = run(f"{SCRIPTS}/promote.sh", {"make": PROMOTING}, REFUND=str(refund))
    assert done.returncode == (1 if refund else 0), done.stderr
    scorers = ("transaction", "refund")
    assert called(tmp_path) == [f"make --no-print-directory promote SCORER={scorer}" for scorer in scorers]
    assert "::notice::transaction: the packaged version is already current" in done.stdout
    assert ("::error::refund: promote: f00 is not promoted: it flags more\n" in done.stdout) == bool(refund)
    assert "is current already" in Path(pointer.__file__).read_text()


@pytest.mark.parametrize(("role", "status"), [("", 1), ("arn", 0)])
def test_a_missing_setting_is_named(role: str, status: int, run: Run) -> None:
    """The error has the page that explains it."""
    done = run(f"{SCRIPTS}/require.sh AWS_REGION DEPLOY_ROLE", {}, AWS_REGION="eu-central-1", DEPLOY_ROLE=role)
    assert done.returncode == status
    sentence = "::error::the variable DEPLOY_ROLE is not set (docs/automation.md)\n"
    assert done.stdout == (sentence if status else "")


def scorers_steps() -> list[dict[str, Any]]:
    """The steps of the job that lists the scorers to be monitored."""
    workflow = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "monitor.yml")
    steps: list[dict[str, Any]] = workflow["jobs"]["scorers"]["steps"]
    return steps


@pytest.mark.parametrize(("store", "notice"), [("", "::notice::monitoring is skipped"), ("s3://store", "")])
def test_without_settings_nothing_is_monitored(store: str, notice: str, run: Run, tmp_path: Path) -> None:
    """There is a notice, and no failure: a fork has no settings."""
    variables = {"AWS_REGION": "eu-central-1", "MONITOR_ROLE": "arn", "PREDICTION_LOG": "s3://log", "STORE": store}
    done = run(scorers_steps()[0]["run"], {}, **variables)
    assert done.returncode == 0
    assert done.stdout.startswith(notice)
    assert (tmp_path / "output").exists() == bool(store)


def test_the_monitored_scorers_are_the_declared_ones(run: Run, checkout: Path, tmp_path: Path) -> None:
    """They are output as the JSON list that the matrix takes."""
    (script,) = [step["run"] for step in scorers_steps() if step.get("id") == "list"]
    write_program(checkout / ".venv" / "bin" / "python", f'cd {ROOT} && exec {sys.executable} "$@"')
    done = run(script, {"make": ""})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "output").read_text() == 'scorers=["transaction", "refund"]\n'
