"""The README's tables of speed and robustness, from the reports."""

from typing import Any

from benchmarks.readme_table import SCORERS, number, report, table

SPEEDS = {
    "cold start: init in AWS's runtime emulator": "cold start: init in AWS's runtime emulator",
    "cold start: first import to first answer": "cold start: imports, bundles, first answer",
    "cold start: first answer alone": "of that, the first answer",
    "warm: transaction, p50": "warm request, transaction: median",
    "warm: transaction, p95": "95th percentile",
    "warm: transaction, p99": "99th percentile",
    "warm: refund, p50": "warm request, refund: median",
    "warm: refund, p99": "99th percentile",
    "warm: transaction, with every reason, p50": "warm request, transaction, with every reason: median",
    "warm: transaction, in a batch of 100, each": "each request of a batch of 100",
    "requests a second under uvicorn, transaction": "requests a second, one worker on one core",
    "resident memory after the first answer": "memory after the first answer",
    "resident memory after the warm rounds": "memory after the warm requests",
    "artifact, unzipped": "artifact, unzipped",
}
SUBJECTS = {
    "ours": "this function",
    "echo": "FastAPI + Mangum echo",
    "xgboost": "with XGBoost's Python package",
    "joblib": "joblib + pandas service",
}


def speed_table() -> str:
    """The speed table as the recorded benchmark has it."""
    found = {row["measured"]: row for row in report("serving.json")["rows"]}
    rows = []
    for key, title in SPEEDS.items():
        # Without wrk there are no requests a second.
        if (row := found.get(key)) is None:
            continue
        ours, *others = (
            f"{number(row['median'][name])} {row['unit']}" if name in row["median"] else "" for name in SUBJECTS
        )
        ratio = f"{number(row['ours_over']['echo'])} x" if "echo" in row["ours_over"] else ""
        rows.append([title, ours, ratio, "; ".join(map(budget, row["limits"])), *others])
    ours, *others = SUBJECTS.values()
    return table(["medians", ours, "of the echo", "budget", *others], rows)


def budget(limit: dict[str, Any]) -> str:
    """A budget as recorded, and the figure where it was missed."""
    unit = {None: "MB", "echo": "x"}.get(limit["against"], f"x {limit['against']}")
    bound = f"at {'least' if limit['is_least'] else 'most'} {number(limit['budget'])} {unit}"
    return bound if limit["verdict"] == "within" else f"{bound}, missed with {number(limit['figure'])}"


def speed_caption() -> str:
    """When and where the speed table was measured, with which models; one line of the README."""
    found = report("serving.json")
    where, trees = found["machine"], found["trees"]
    effort = found["effort"]
    models = " and ".join(f"{trees[name]} ({name})" for name in SCORERS)
    rounds = f"{effort['cold_rounds']} cold starts, {effort['warm_rounds']} rounds of {effort['calls']} calls"
    return (
        f"`make bench` on {where['date'].split()[0]}, {where['cores']} cores of an {where['processor']}, "
        f"CPython {where['python']}, models of {models} trees, {rounds}:"
    ).replace("(R)", "")


def artifact_size() -> str:
    """What the artifact weighed when the speed table was measured."""
    (row,) = (row for row in report("serving.json")["rows"] if row["measured"] == "artifact, unzipped")
    return f"{row['median']['ours']:.1f} MB unzipped of Lambda's"


def robustness_table() -> str:
    """What was tried to break the function, how often, and what came of it."""
    found = report("robustness.json")
    routes, events, load, million = (found[part] for part in ("routes", "events", "overload", "million"))
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


def robustness_caption() -> str:
    """When the function was tried; one line of the README."""
    return f"`make robust` on {report('robustness.json')['machine']['date'].split()[0]}:"
