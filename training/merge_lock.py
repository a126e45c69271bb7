"""Merge two branches' dvc.lock by stage; Git calls it once it is configured (docs/releases.md).

Git alone merges the lines of an entry: of two runs it makes the record of a third that never was, which DVC then takes
for up to date. Here an entry that both branches changed is left out instead, so that `dvc repro` runs the stage.
"""

import argparse
import re
import sys
from pathlib import Path

from training.run.command import one_line_errors
from training.run.files import write_text

HEAD = "schema: '2.0'\nstages:\n"


def entries(text: str) -> dict[str, str]:
    """The text of each stage's entry in a dvc.lock, by the stage; a lock that does not exist has no text.

    Raises ValueError for a text of another form.
    """
    if not text:
        return {}
    if not text.startswith(HEAD):
        raise ValueError(f"begins with {text[: len(HEAD)]!r}, not with {HEAD!r}; merge it by hand")
    parts = re.split(r"^  (\S.*):\n", text.removeprefix(HEAD), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def merged(ancestor: str, ours: str, theirs: str) -> tuple[str, list[str]]:
    """The dvc.lock of both branches, and the stages that it leaves out because both changed their entries."""
    common, mine, other = entries(ancestor), entries(ours), entries(theirs)
    kept, left_out = [], []
    for stage in mine | other:
        before, my_entry, other_entry = common.get(stage), mine.get(stage), other.get(stage)
        entry = my_entry if other_entry in {before, my_entry} else other_entry
        if my_entry not in {before, entry}:
            left_out.append(stage)
        elif entry is not None:
            kept.append(f"  {stage}:\n{entry}")
    return HEAD + "".join(kept), left_out


def main() -> None:
    """Write the merged lock over ours, and name the stages that have to run again."""
    parser = argparse.ArgumentParser(prog="python -m training.merge_lock", description=__doc__)
    for name in ("ancestor", "ours", "theirs"):
        parser.add_argument(name, type=Path, help=f"dvc.lock, {name}")
    options = parser.parse_args()
    texts = [path.read_text(encoding="utf-8") for path in (options.ancestor, options.ours, options.theirs)]
    with one_line_errors("dvc.lock", ValueError):
        lock, left_out = merged(*texts)
    write_text(options.ours, lock)
    if left_out:
        print(f"dvc.lock: both branches changed {', '.join(left_out)}: run `dvc repro`", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
