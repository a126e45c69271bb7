"""Histories in a table that answers at once, or not at all: `make bench-history`.

The table is a stand-in for DynamoDB on the same machine, so that only this project's own work is measured. The other
parts count the requests that are answered while the table is silent for a minute, while a hundred callers name one
merchant, while one merchant gets more requests than one item takes, with and without shards, and while a million states
are loaded.
"""

import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import batched
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier
from typing import Any
from unittest.mock import patch

import numpy as np
from tqdm import tqdm

from benchmarks.command import keep, options_of
from benchmarks.history.paced_calls import FIRST_TIME, N_ENTITIES, Limits, calls_of_worker
from benchmarks.history.payment_bundles import trained_bundles
from benchmarks.history.payments import SCORER, START
from benchmarks.history.table_stand_in import DYNAMODB, Units, table_stand_in
from benchmarks.machine import machine
from benchmarks.tables import date_of, number, table
from handler.history.aws import CONNECT_SECONDS, AwsClient
from handler.history.dynamodb import TARGET, DynamoHistory
from handler.history.store import logger
from handler.scoring.contract import Contract
from handler.scoring.history import DAY, History
from handler.scoring.past import KeyedEvent, RequestPast
from handler.scoring.scorer import load_scorer
from training.data.state_file import StoredState
from training.delivery.served_history import BATCH, HistoryTable

SIZES = {
    "rows": (20_000, 3_000),
    "calls": (10_000, 50),
    "rate": (200, 50),
    "silent_seconds": (60, 1),
    "callers": (100, 4),
    "hot_seconds": (20, 1),
    "states": (1_000_000, 200),
    # States per second. Without this limit the stand-in would answer no request in time; DynamoDB would load no faster.
    "load_rate": (8_000, 8_000),
}
NAME, SECRET = "past", b"a secret"
# Requests per second that name one merchant, and the numbers of its shards. An item of DynamoDB is overloaded by 1,500
# requests per second, more than can be sent here, so the rate and the limits of the stand-in's items are a tenth.
HOT_RATE, HOT_SHARDS, SCALE = 150, (1, 8), 10
BUDGET_MS = 50
# The time before and after the silence: longer than the pause in which a table that failed is not asked.
EDGE_SECONDS = 15
# The most processor time that a table may add to a request, in microseconds; waiting for the network is not included.
MOST_OWN = 500.0
HTTP_OK = 200


def own_work(folders: tuple[Path, Path], n_calls: int) -> dict[str, float]:
    """Medians of a request's processor time (µs) and of its duration (ms), with a table and without a history."""
    figures: dict[str, float] = {}
    for kind, bundles in zip(("with", "without"), folders, strict=True):
        with table_stand_in() as environment:
            served = environment | {"HISTORY": f"dynamodb://{NAME}"} if kind == "with" else {}
            with calls_of_worker(bundles, served, Limits(n_calls)) as future:
                sent = future.result()[n_calls // 10 :]
        figures[kind] = float(np.median([call.own for call in sent]))
        figures[f"{kind}, milliseconds"] = float(np.median([call.milliseconds for call in sent]))
    return figures


def silence(bundles: Path, rate: float, seconds: float) -> dict[str, float]:
    """How requests fare while the table is silent, and how long after it the history answers again."""
    edge = min(EDGE_SECONDS, seconds)
    with table_stand_in() as environment:
        served = environment | {"HISTORY": f"dynamodb://{NAME}", "HISTORY_BUDGET_MS": str(BUDGET_MS)}
        client = AwsClient("dynamodb", TARGET, environment)
        # Five seconds more, to load the function.
        with calls_of_worker(bundles, served, Limits(rate=rate, until=time.time() + 2 * edge + seconds + 5)) as future:
            time.sleep(edge)
            client.call([("Silence", f'{{"seconds":{seconds}}}'.encode())], 5.0)
            begin = time.time()
            sent = future.result()
        client.close()
    during = [call for call in sent if begin <= call.at < begin + seconds]
    after = [call for call in sent if call.at >= begin + seconds]
    recovered = min((call.at for call in after if call.is_answered), default=np.inf)
    return {
        "seconds": seconds,
        "requests": len(during),
        "failed": sum(call.status != HTTP_OK for call in sent),
        "unanswered": sum(not call.is_answered for call in during),
        "p99": float(np.percentile([call.milliseconds for call in during], 99)),
        "slowest": max(call.milliseconds for call in during),
        "recovery": recovered - begin - seconds,
        "unanswered later": sum(not call.is_answered for call in after if call.at > recovered),
    }


def one_merchant(past: RequestPast, model: Any, n_callers: int) -> dict[str, int]:  # noqa: ANN401 - made at run time
    """How many requests of `n_callers` concurrent callers, which all name one merchant, its state counts in the end."""
    n_each = 10
    with table_stand_in() as environment:
        barrier = Barrier(n_callers)

        def call(caller: int) -> int:
            with DynamoHistory(NAME, 60_000, SECRET, AwsClient("dynamodb", TARGET, environment)) as history:
                barrier.wait()
                for number_of in range(n_each):
                    request = {"payment_id": f"{caller} {number_of}", "amount": 1.0, "merchant": "one", "at": START}
                    history.exchange([past.events(model.model_validate(request))])
                return history.n_failed

        with ThreadPoolExecutor(n_callers) as threads:
            n_failed = sum(threads.map(call, range(n_callers)))
        with DynamoHistory(NAME, 60_000, SECRET, AwsClient("dynamodb", TARGET, environment)) as history:
            last = model.model_validate({"amount": 1.0, "merchant": "one", "at": START + 60})
            ((*_, values),) = history.exchange([past.events(last)], is_written=False)
    return {"requests": n_callers * n_each, "unanswered": n_failed, "counted": int((values or [-1])[0])}


def hot_merchant(past: History, contract: Contract, model: Any, seconds: float) -> dict[str, Any]:  # noqa: ANN401
    """How many requests the history leaves unanswered if one merchant gets more than an item takes, by its shards."""
    unanswered: dict[str, int] = {}
    n_requests = round(HOT_RATE * seconds)
    for shards in HOT_SHARDS:
        merchant = past.entities["merchant"].model_copy(update={"shards": shards})
        spread = past.model_copy(update={"entities": {**past.entities, "merchant": merchant}})
        events = RequestPast(SCORER, contract, spread).events
        with (
            table_stand_in(Units(*(units / SCALE for units in DYNAMODB))) as environment,
            # It would log a failure or a recovery for nearly every request.
            patch.object(logger, "disabled", new=True),
            DynamoHistory(NAME, 1_000, SECRET, AwsClient("dynamodb", TARGET, environment)) as history,
        ):
            begin = time.monotonic()
            for number_of in range(n_requests):
                time.sleep(max(0.0, begin + number_of / HOT_RATE - time.monotonic()))
                named = {"payment_id": f"hot {number_of}", "card": f"card {number_of}", "merchant": "one"}
                history.exchange([events(model.model_validate(named | {"amount": 1.0, "at": START + number_of}))])
            unanswered[str(shards)] = history.n_failed
            took = time.monotonic() - begin
        if took > 1.1 * seconds + 1:
            raise SystemExit(f"{n_requests} requests took {took:.1f} s, which is too slow for {HOT_RATE} a second")
    return {"rate": HOT_RATE, "scale": SCALE, "requests": n_requests, "unanswered": unanswered}


def card_event(past: RequestPast, model: Any, request: dict[str, Any]) -> KeyedEvent:  # noqa: ANN401
    """A request as an event of its card."""
    event = past.events(model.model_validate(request))[0]
    if event is None:
        raise ValueError("the request names no card")
    return event


def state_of(past: RequestPast, model: Any, card: int) -> StoredState:  # noqa: ANN401
    """A card's state with one event, earlier than those of the workers."""
    _, fold, event, entity = keyed = card_event(past, model, {"amount": 2.0, "card": f"card {card}", "at": START})
    state = fold.empty()
    fold.add(state, event._replace(time=FIRST_TIME - 60))
    return StoredState(entity, keyed.key, fold.pack(state), FIRST_TIME + 100 * DAY)


def loading(bundles: Path, past: RequestPast, model: Any, options: Namespace) -> dict[str, float]:  # noqa: ANN401
    """Load states while requests come in, and count the states that then differ from the fold of both."""
    with (
        table_stand_in() as environment,
        TemporaryDirectory() as name,
        closing(AwsClient("dynamodb", TARGET, environment)) as client,
    ):
        served = environment | {"HISTORY": f"dynamodb://{NAME}", "HISTORY_KEY": SECRET.decode()}
        limits = Limits(rate=options.rate, stop=Path(name, "loaded"))
        target = HistoryTable(NAME, SECRET, client)
        with calls_of_worker(bundles, served, limits) as future:
            begin = time.perf_counter()
            states = (state_of(past, model, card) for card in range(options.states))
            try:
                batches = tqdm(batched(states, BATCH, strict=False), total=-(-options.states // BATCH), unit="batch")
                for number_of, batch in enumerate(batches):
                    target.load(batch, past, FIRST_TIME)
                    time.sleep(max(0.0, begin + number_of * BATCH / options.load_rate - time.perf_counter()))
            finally:
                limits.stop.touch()
            seconds = time.perf_counter() - begin
            sent = future.result()
        expected = {
            card: state_of(past, model, card) for card in range(0, options.states, options.states // 1_000 or 1)
        }
        expected |= {card: state_of(past, model, card) for card in range(min(N_ENTITIES, options.states))}
        folds = {of.key: past.entity(of.entity).unpack(of.state) for of in expected.values()}
        for request in (call.request for call in sent):
            keyed = card_event(past, model, request)
            if keyed.key in folds:
                keyed.past.add(folds[keyed.key], keyed.event)
        different = 0
        for key, fold in folds.items():
            entity = past.entity(0)
            state = target.state(key, entity)
            different += state is None or entity.pack(state) != entity.pack(fold)
    return {
        "states": options.states,
        "seconds": seconds,
        "requests": len(sent),
        "failed": sum(call.status != HTTP_OK or not call.is_answered for call in sent),
        "compared": len(folds),
        "different": different,
    }


def measure(options: Namespace) -> dict[str, Any]:
    """All five measurements."""
    with TemporaryDirectory() as name:
        folders = trained_bundles(Path(name), options.rows)
        scorer = load_scorer(folders[0] / SCORER)
        if scorer.past is None or scorer.contract.history is None:
            raise SystemExit("the scorer has no history")
        past, model = scorer.past, scorer.request_model
        return {
            "own": own_work(folders, options.calls),
            "silence": silence(folders[0], options.rate, options.silent_seconds),
            "merchant": one_merchant(past, model, options.callers),
            "hot": hot_merchant(scorer.contract.history, scorer.contract, model, options.hot_seconds),
            "loading": loading(folders[0], past, model, options) | {"rate": options.rate},
        }


def history_table_table(report: Mapping[str, Any]) -> str:
    """The time that a table costs, and how requests fare in each measurement."""
    own, silent, merchant, loaded = (report[part] for part in ("own", "silence", "merchant", "loading"))
    rows = [
        ["processor time of a request with three entities and twelve features", f"{number(own['with'])} µs"],
        ["the same without a history", f"{number(own['without'])} µs"],
        [
            f"requests of a run in which the table is silent for {silent['seconds']} s, failed ones",
            f"{silent['requests']:,}, {silent['failed']}",
        ],
        ["of these requests, how many the history did not answer", f"{silent['unanswered']:,}"],
        [
            "time of these requests: 99th percentile, slowest",
            f"{number(silent['p99'])} ms, {number(silent['slowest'])} ms",
        ],
        ["the history answers again after", f"{number(silent['recovery'])} s"],
        [
            "concurrent requests that name one merchant, how many its state counts in the end",
            f"{merchant['requests']:,}, {merchant['counted']:,}",
        ],
        [
            f"unanswered requests at {loaded['rate']} a second, while {loaded['states']:,} states are loaded",
            f"{loaded['failed']} of {loaded['requests']:,}",
        ],
        ["states loaded a second", f"{loaded['states'] / loaded['seconds']:,.0f}"],
        [
            f"of {loaded['compared']:,} compared states, how many differ from the fold of loaded and sent events",
            f"{loaded['different']}",
        ],
    ]
    # Older reports have no figures about shards.
    if hot := report.get("hot"):
        limits = " and ".join(f"{units // hot['scale']:,} {kind}" for kind, units in DYNAMODB._asdict().items())
        name = (
            f"{hot['rate']} requests a second that name one merchant, each item limited to 1/{hot['scale']} of "
            f"DynamoDB's units ({limits} a second): unanswered requests with "
            f"{' shard, with '.join(hot['unanswered'])} shards"
        )
        rows.append([name, f"{', '.join(map(str, hot['unanswered'].values()))} of {hot['requests']:,}"])
    return table([f"`make bench-history` on {date_of(report)}", "a stand-in on the same machine"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and end with an error if something was lost, failed or took too long."""
    options = options_of("history.table", __doc__, SIZES, arguments)
    report = {"machine": machine(), **measure(options)}
    print(history_table_table(report))
    own, silent, merchant, loaded = (report[part] for part in ("own", "silence", "merchant", "loading"))
    if merchant["counted"] != merchant["requests"] or loaded["different"] or silent["failed"]:
        raise SystemExit(
            "events were lost or counted twice, or requests failed before, during or after the silence; see the table"
        )
    few, many = (report["hot"]["unanswered"][str(shards)] for shards in HOT_SHARDS)
    added = own["with"] - own["without"]
    slowest = BUDGET_MS + 1e3 * CONNECT_SECONDS
    figures = {
        f"the table adds {added:.0f} µs of processor time to a request, at most {MOST_OWN:g}": added > MOST_OWN,
        f"{loaded['failed']} unanswered requests while states were loaded, at most 0": bool(loaded["failed"]),
        f"unanswered requests for one merchant: {few} with one shard, {many} with several (expected: some, none)": (
            many or not few
        ),
        f"p99 of {silent['p99']:.0f} ms with a silent table, at most {BUDGET_MS}": silent["p99"] > BUDGET_MS,
        f"a request took {silent['slowest']:.0f} ms, at most {slowest:g}": silent["slowest"] > slowest,
        f"the history did not recover within {EDGE_SECONDS} s, or failed again afterwards": (
            silent["recovery"] > EDGE_SECONDS or silent["unanswered later"]
        ),
    }
    excesses = [figure for figure, is_beyond in figures.items() if is_beyond]
    keep("history_table", report, options, excesses)


if __name__ == "__main__":
    main()
