"""The README's table of versions swapped under load, from the recorded run of `make swaps`."""

from benchmarks.readme_table import number, report, table

WHERE = {"uvicorn": "under uvicorn", "lambda": "through the Lambda handler"}


def swaps_table() -> str:
    """What became of the requests while versions came and went."""
    recorded = report("swaps.json")
    found = {place: recorded[name] for name, place in WHERE.items()}
    rows = [
        ["requests", *(f"{one['answers']:,}" for one in found.values())],
        ["failed, or answered by no whole version", *(f"{one['failed'] + one['wrong']}" for one in found.values())],
        [
            "promotes and rollbacks; of damaged bundles",
            *(f"{one['moves']}; {one['moves to a damaged bundle']}" for one in found.values()),
        ],
        [
            "from the move to the first answer: median, most",
            *(_two(one["move to first answer ms"], "median", "most") for one in found.values()),
        ],
        ["a request: median, 99th percentile", *(_two(one["request ms"], "p50", "p99") for one in found.values())],
        [
            "within half a second of a move",
            *(_two(one["request ms during swaps"], "p50", "p99") for one in found.values()),
        ],
        ["the slowest then", *(f"{number(one['request ms during swaps']['most'])} ms" for one in found.values())],
    ]
    return table(["`make swaps`", *found], rows)


def _two(of: dict[str, float], first: str, second: str) -> str:
    return f"{number(of[first])} ms, {number(of[second])} ms"


def swaps_caption() -> str:
    """When it ran, and how much was asked."""
    recorded = report("swaps.json")
    asked = recorded["uvicorn"]["asked per second"]
    return f"`make swaps` on {recorded['machine']['date'].split()[0]}: {asked:,} requests a second for a minute"
