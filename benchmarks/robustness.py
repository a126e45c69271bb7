"""What must not break it: made-up requests and events, four times its rate, a million predictions. `make robust`."""

import argparse
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.fuzz import fuzz_events, fuzz_routes
from benchmarks.machine import machine
from benchmarks.million import million
from benchmarks.overload import overload
from training.run.files import BUILD, REPORTS, write_json

RESULT = BUILD / "benchmarks" / "robustness.json"
# What the README quotes; tests/test_pages.py holds the two together.
RECORDED = REPORTS / "robustness.json"
CURVE = REPORTS / "robustness.svg"
PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "routes": fuzz_routes,
    "events": fuzz_events,
    "overload": overload,
    "million": million,
}


def draw(found: dict[str, Any]) -> None:
    """The memory during the million predictions and during the overload, as a picture."""
    mpl.rcParams |= {"svg.hashsalt": "robustness", "svg.fonttype": "none"}
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained", sharey=True)
    answered, memory = zip(*found["million"]["memory MB"], strict=True)
    left.plot([count / 1e6 for count in answered], memory)
    left.set(xlabel="million predictions, Lambda handler", ylabel="resident memory, MB")
    right.plot(found["overload"]["memory MB"])
    right.set(ylim=(0, 1.2 * max(found["overload"]["memory MB"])))
    right.set(xlabel="seconds at four times the sustainable rate, uvicorn")
    figure.savefig(CURVE, metadata={"Date": None})


def main() -> None:
    """Run the parts, print what each found, and end with an error where one broke."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--record", action="store_true", help=f"keep the results in {RECORDED}, for the README")
    asked = parser.parse_args()
    if asked.only and asked.record:
        parser.error("--record keeps all parts; leave --only out")
    found: dict[str, Any] = {"machine": machine()}
    for name in [asked.only] if asked.only else PARTS:
        print(f"{name} ...", flush=True)
        found[name] = PARTS[name]()
        print(", ".join(f"{what}: {value}" for what, value in found[name].items() if not isinstance(value, list)))
        write_json(RESULT, found)
    if asked.record:
        draw(found)
        write_json(RECORDED, found)


if __name__ == "__main__":
    main()
