"""What must not break the function: generated requests and events, overload, a million predictions. `make robust`."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.command import keep, options_of
from benchmarks.machine import machine
from benchmarks.serving.fuzz import fuzz_events, fuzz_routes
from benchmarks.serving.overload import million, overload
from benchmarks.tables import date_of, table

SIZES = {"cases": (2_000, 1), "examples": (20_000, 2), "seconds": (60, 1), "predictions": (1_000_000, 100)}
# The growth over a million predictions counts from a tenth of them: about what a leak of one byte each would add.
MAX_GROWTH_MB = {"overload": 2.0, "million": 1.0}


def robustness_table(report: Mapping[str, Any]) -> str:
    """Each attempt to break the function, how often it was made, and its result."""
    load, million = report["overload"], report["million"]
    held = f"{load['memory MB'][10]:.1f} MB after ten seconds, {load['memory MB'][-1]:.1f} MB at the end"
    grown = f"{million['memory MB'][10][1]:.1f} MB after a tenth, {million['memory MB'][-1][1]:.1f} MB at the end"
    rows = [
        [
            "requests generated from the OpenAPI document (Schemathesis), under uvicorn",
            f"{report['routes']['cases']:,}",
            f"{report['routes']['failures']} answered with a 5xx, or with what the document does not describe",
        ],
        [
            "Lambda events generated for every event handler (Hypothesis)",
            f"{report['events']['cases']:,}",
            f"{report['events']['failures']} answered wrongly or not at all",
        ],
        [
            f"a minute at 4 times the sustainable {load['sustainable per second']:,} requests a second, under uvicorn",
            f"{load['offered']:,} offered, {load['waiting at once']:,} at once: {load['right']:,} answered",
            f"{load['wrong']} wrong, {load['lost']} lost; memory {held}",
        ],
        ["predictions in one process, through the Lambda handler", f"{million['predictions']:,}", f"memory {grown}"],
    ]
    return table(["attempt", "how often", "result"], rows)


def robustness_caption(report: Mapping[str, Any]) -> str:
    """When the function was tested."""
    return f"`make robust` on {date_of(report)}:"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts, print what each measured, and end with an error if something broke."""
    options = options_of("serving.robustness", __doc__, SIZES, arguments)
    phases = "examples" if options.smallest else "examples,coverage,fuzzing,stateful"
    parts = {
        "routes": lambda: fuzz_routes(options.cases, phases),
        "events": lambda: fuzz_events(options.examples),
        "overload": lambda: overload(options.seconds),
        "million": lambda: million(options.predictions),
    }
    report: dict[str, Any] = {"machine": machine()}
    for name, part in parts.items():
        print(f"{name} ...", flush=True)
        report[name] = part()
        print(", ".join(f"{what}: {value}" for what, value in report[name].items() if not isinstance(value, list)))
    growths = {name: report[name]["growth MB"] for name in MAX_GROWTH_MB}
    excesses = [
        f"{name}: memory grew by {mb} MB, at most {MAX_GROWTH_MB[name]:g}"
        for name, mb in growths.items()
        if mb > MAX_GROWTH_MB[name]
    ]
    keep("robustness", report, options, excesses)


if __name__ == "__main__":
    main()
