"""Long work: its progress as a bar on a terminal or lines in a log, and all cores at once."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from joblib import Parallel, delayed
from tqdm import tqdm


def progress[T](items: Iterable[T], name: str, *, total: int) -> Iterator[T]:
    """The items, counted as they are finished: a bar on a terminal, in a log at most ten lines."""
    if sys.stderr.isatty():
        yield from tqdm(items, desc=name, total=total)
        return
    told = 0
    for count, item in enumerate(items, start=1):
        yield item
        if count * 10 // total > told:
            told = count * 10 // total
            say(f"{name}: {count} of {total}")


def say(line: str) -> None:
    """Print a line at once, above a bar where there is one."""
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


def on_all_cores(tasks: Sequence[tuple[Callable[..., Any], *tuple[Any, ...]]], name: str) -> list[Any]:
    """The results of tasks (function, arguments), in order; each task has a process of its own with one core."""
    jobs = (delayed(function)(*arguments) for function, *arguments in tasks)
    results = Parallel(n_jobs=-1, return_as="generator")(jobs)
    return list(progress(results, name, total=len(tasks)))
