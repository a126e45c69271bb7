# ruff: noqa: INP001 - a script beside the shell scripts, not part of a package
"""Runs shellcheck on every `run:` step of workflows: `python .github/scripts/lint_steps.py SHELLCHECK FILE...`.

Findings are printed with their file, job and step, and the exit status is 1.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML


def scripts(workflow: Path) -> Iterator[tuple[str, str]]:
    """Each step's file, job and name, and the script that it runs."""
    jobs = YAML(typ="safe").load(workflow)["jobs"]
    for job, declared in jobs.items():
        for step in declared.get("steps", ()):  # a job that calls a workflow has none
            if "run" in step:
                yield f"{workflow}, {job}, {step['name']}", step["run"]


def main() -> None:
    """Print shellcheck's findings on each step, and exit."""
    shellcheck, *workflows = sys.argv[1:]
    is_clean = True
    for workflow in workflows:
        for place, script in scripts(Path(workflow)):
            done = subprocess.run(  # noqa: S603 - the linter that the Makefile names
                [shellcheck, "--shell=bash", "-"], input=script, capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                is_clean = False
                sys.stderr.write(f"{place}:{done.stdout}{done.stderr}")
    sys.exit(0 if is_clean else 1)


if __name__ == "__main__":
    main()
