"""What must not break the function: generated requests and events, overload, a million predictions. `make robust`."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl

from benchmarks.command import REPORTS, end, keep, options_of
from benchmarks.machine import machine
from benchmarks.serving.fuzz import fuzz_events, fuzz_routes
from benchmarks.serving.million import million
from benchmarks.serving.overload import overload
from benchmarks.tables import date_of, table

SIZES = {"cases": (2_000, 1), "examples": (20_000, 2), "seconds": (60, 1), "predictions": (1_000_000, 200)}
PARTS = {
    "routes": lambda options: fuzz_routes(options.cases, *(["examples"] if options.smallest else [])),
    "events": lambda options: fuzz_events(options.examples),
    "overload": lambda options: overload(options.seconds),
    "million": lambda options: million(options.predictions),
}
# Of a million predictions between a tenth of them and all: what a leak of one byte a prediction would take.
MAX_GROWTH_MB = {"overload": 2.0, "million": 1.0}


def draw(report: Mapping[str, Any]) -> None:
    """The memory during the million predictions and during the overload, as a picture."""
    from matplotlib import pyplot as plt  # noqa: PLC0415 - half a second, which the tables do not need

    mpl.rcParams |= {"svg.hashsalt": "robustness", "svg.fonttype": "none"}
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained", sharey=True)
    answered, memory = zip(*report["million"]["memory MB"], strict=True)
    left.plot([count / 1e6 for count in answered], memory)
    left.set(xlabel="million predictions, Lambda handler", ylabel="resident memory, MB")
    right.plot(report["overload"]["memory MB"])
    right.set(ylim=(0, 1.2 * max(report["overload"]["memory MB"])))
    right.set(xlabel="seconds at four times the sustainable rate, uvicorn")
    figure.savefig(REPORTS / "robustness.svg", metadata={"Date": None})


def robustness_table(report: Mapping[str, Any]) -> str:
    """What was tried to break the function, how often, and with what result."""
    routes, events, load, million = (report[part] for part in PARTS)
    scored = min(count for route, count in routes["requests"].items() if route not in {"/health", "/models/{scorer}"})
    held = f"{load['memory MB'][10]:.1f} MB after ten seconds, {load['memory MB'][-1]:.1f} MB at the end"
    grown = f"{million['memory MB'][10][1]:.1f} MB after a tenth, {million['memory MB'][-1][1]:.1f} MB at the end"
    rows = [
        [
            "requests made up from the OpenAPI document (Schemathesis), under uvicorn",
            f"{routes['cases']:,}; of a scorer's routes each at least {scored:,}",
            f"{routes['failures']} answered with a 5xx, or with what the document does not name",
        ],
        [
            "Lambda events made up for every door (Hypothesis)",
            f"{events['cases']:,}",
            f"{events['failures']} answered badly or not at all",
        ],
        [
            f"a minute at 4 times the sustainable {load['sustainable per second']:,} requests a second, under uvicorn",
            f"{load['offered']:,} offered, {load['waiting at once']:,} at once: {load['right']:,} answered",
            f"{load['wrong']} wrong, {load['lost']} lost; memory {held}",
        ],
        [
            "predictions in one process, through the Lambda handler",
            f"{million['predictions']:,}",
            f"memory {grown}",
        ],
    ]
    return table(["tried", "how often", "found"], rows)


def robustness_caption(report: Mapping[str, Any]) -> str:
    """When the function was tested."""
    return f"`make robust` on {date_of(report)}:"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts, print what each measured, and end with an error where something broke."""
    options = options_of("serving.robustness", __doc__, SIZES, arguments, PARTS)
    if options.record and set(options.only) != set(PARTS):
        raise SystemExit("--record keeps all parts; leave --only out")
    report: dict[str, Any] = {"machine": machine()}
    for name in options.only:
        print(f"{name} ...", flush=True)
        report[name] = PARTS[name](options)
        print(", ".join(f"{what}: {value}" for what, value in report[name].items() if not isinstance(value, list)))
    if options.record:
        draw(report)
    keep("robustness", report, options)
    growths = {name: report[name]["growth MB"] for name in MAX_GROWTH_MB if name in report}
    end([f"{name}: {mb} MB" for name, mb in growths.items() if mb > MAX_GROWTH_MB[name]], options)


if __name__ == "__main__":
    main()
