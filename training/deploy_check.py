"""Check what can be checked before a deployment: `python -m training.deploy_check`, or `make deploy-check`.

It runs the template's linters, builds and measures an artifact for each processor, and checks the artifact's answers to
the golden requests in a bare interpreter, which is emulated for the other processor (on Debian). Neither Docker nor an
AWS account is needed.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.delivery.artifact import MACHINES, MAX_BYTES, MAX_GLIBC, Artifact, faults, read_artifact
from training.delivery.emulation import EmulationError, interpreter
from training.delivery.template import declared_environment

ROOT = Path(__file__).parents[1]
ASK = Path(__file__).parent / "delivery" / "ask_golden.py"
HEADINGS = (
    "processor",
    "MB unzipped",
    "zipped",
    "limit",
    "libraries",
    f"highest GLIBC (limit {'.'.join(map(str, MAX_GLIBC))})",
    ".py without .pyc",
    "golden answers",
)


def made(*arguments: str) -> list[str]:
    """Run make; if it fails, one text with the last lines that it printed, else an empty list."""
    done = subprocess.run(  # noqa: S603 - the project's own Makefile
        ["make", "--no-print-directory", *arguments],  # noqa: S607 - the user's make
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return []
    output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-30:])
    return [f"make {' '.join(arguments)} failed:\n{output}"]


def golden_answers(
    folder: Path, environment: Mapping[str, str], python: Sequence[str] = (sys.executable,)
) -> tuple[str, list[str]]:
    """How many golden requests a checked artifact answers correctly in a bare interpreter, and a sentence per fault."""
    done = subprocess.run(  # noqa: S603 - an interpreter, on a file of ours
        [*python, "-I", "-S", "-B", ASK, folder],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return "it does not start", [f"it does not start: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"]
    # The lines before the last one are the function's metrics.
    result = json.loads(done.stdout.splitlines()[-1])
    n_requests, wrong = result["asked"], result["wrong"]
    golden = f"{n_requests - len(wrong)} of {n_requests}, at most {result['off']:.0e} off"
    return golden, wrong if n_requests else ["its bundles hold no golden requests"]


def row(architecture: str, artifact: Artifact, golden: str) -> list[str]:
    """An artifact's line in the check's table."""
    machines = list(artifact.libraries().values())
    return [
        architecture,
        f"{artifact.n_bytes / 1e6:.1f}",
        f"{artifact.n_zipped_bytes / 1e6:.1f}",
        f"{MAX_BYTES / 1e6:.0f}",
        f"{machines.count(architecture)} of {len(machines)} for {architecture}",
        ".".join(map(str, max(artifact.glibc().values(), default=(0,)))),
        str(len(artifact.stale_modules())),
        golden,
    ]


def checked(architecture: str, folder: Path) -> tuple[list[str], list[str]]:
    """The table line of the artifact in a folder, and a sentence per fault."""
    artifact = read_artifact(folder)
    sentences = faults(artifact, architecture)
    try:
        python = interpreter(architecture)
    except EmulationError as error:
        golden = f"not run: {error}"
    else:
        answers, wrong = golden_answers(folder, declared_environment(folder.parent / "template.yaml"), python)
        golden = f"{'run' if python == [sys.executable] else 'run by QEMU'}: {answers}"
        sentences += wrong
    return row(architecture, artifact, golden), [f"{architecture}: {fault}" for fault in sentences]


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """The rows of the check's table, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in rows
    )


def main() -> None:
    """Print the table and every fault; exit with status 1 if there is any."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    failures = made("lint-template")
    rows: list[Sequence[str]] = [HEADINGS]
    for architecture in MACHINES.values():
        build = Path(".aws-sam") / architecture
        if failed := made("artifact", f"ARCHITECTURE={architecture}", f"BUILD_DIR={build}"):
            failures += failed
            continue
        line, faults_found = checked(architecture, ROOT / build / "FraudFunction")
        rows.append(line)
        failures += faults_found
    sys.stdout.write(f"template: {'see below' if any('lint-template' in text for text in failures) else 'clean'}\n\n")
    sys.stdout.write(aligned(rows) + "\n")
    for failure in failures:
        sys.stderr.write(failure + "\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
