"""The command-line options of a benchmark, and where its report is written."""

from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.run.files import BUILD, write_json

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "reports"

Sizes = Mapping[str, tuple[int, int]]
"""How much is measured: per option, its default and its value with `--smallest`."""


def options_of(
    name: str, about: str | None, sizes: Sizes, arguments: Sequence[str] | None, parts: Collection[str] = ()
) -> Namespace:
    """The options of `python -m benchmarks.NAME`: one per size, `record`, `smallest` and, if it has parts, `only`."""
    parser = ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
    for size, (default, _) in sizes.items():
        parser.add_argument(f"--{size.replace('_', '-')}", type=int, default=default)
    if parts:
        parser.add_argument(
            "--only", nargs="+", choices=parts, default=list(parts), metavar="PART", help=", ".join(parts)
        )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--record", action="store_true", help="write the report to reports/, from which README.md and docs/ are filled"
    )
    mode.add_argument(
        "--smallest", action="store_true", help="run on a few rows and calls, without budgets, to see that it works"
    )
    options = parser.parse_args(arguments)
    if options.smallest:
        vars(options).update({size: smallest for size, (_, smallest) in sizes.items()})
    return options


def keep(name: str, report: Mapping[str, Any], options: Namespace, excesses: Sequence[str] = ()) -> None:
    """Write a report to build/benchmarks/ and, with `--record`, to reports/; with `--smallest`, write nothing.

    Raises SystemExit if `excesses` is not empty: it holds a sentence for each figure beyond its budget.
    """
    if options.smallest:
        return
    write_json(ROOT / BUILD / "benchmarks" / f"{name}.json", report)
    if options.record:
        write_json(REPORTS / f"{name}.json", report)
    if excesses:
        raise SystemExit("OVER BUDGET: " + "; ".join(excesses))
