"""A million predictions in one process, through the Lambda handler: its memory does not grow."""

from typing import Any

from tqdm import tqdm

from benchmarks.command import ROOT
from benchmarks.serving.function import FunctionProcess
from benchmarks.serving.gateway import http_event
from benchmarks.serving.services import checkout_service
from handler.scoring.scorer import load_scorer
from training.run.files import BUNDLES

POINTS = 100


def golden_events() -> list[dict[str, Any]]:
    """The golden requests of every bundle; those that are flagged are answered with reasons."""
    events = []
    for folder in sorted((ROOT / BUNDLES).iterdir()):
        scorer = load_scorer(folder)
        events += [http_event(scorer.contract.route, case["request"]) for case in scorer.bundle.golden]
    return events


def million(predictions: int) -> dict[str, Any]:
    """How many predictions, and the memory in MB at each hundredth of them; raises RuntimeError where one failed."""
    events, every = golden_events(), predictions // POINTS
    with (
        FunctionProcess(checkout_service(), events[0]) as process,
        tqdm(total=predictions, unit="prediction") as progress,
    ):
        curve = [[0, round(process.resident_mb(), 2)]]
        for point in range(1, POINTS + 1):
            process.call(events, every)
            curve.append([point * every, round(process.resident_mb(), 2)])
            progress.update(every)
    growth = curve[-1][1] - curve[POINTS // 10][1]
    return {"predictions": POINTS * every, "memory MB": curve, "growth MB": round(growth, 2)}
