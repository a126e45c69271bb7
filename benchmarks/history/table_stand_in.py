"""An in-memory stand-in for what histories use of DynamoDB: a server in its own process, which answers at once.

A test compares its answers with moto's. Its extra operation `Silence` holds back all answers for some seconds. Unlike
moto, it can limit how much is written to, and read from, one item per second, as DynamoDB does. Transactions, which
outcomes need, are not limited.
"""

import asyncio
import gc
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

Item = dict[str, Any]
_ERROR = "com.amazonaws.dynamodb.v20120810#"
_APPENDED, _DEFAULT = r"list_append\(if_not_exists\(\w+, (:\w+)\), (:\w+)\)", r"if_not_exists\(\w+, (:\w+)\)"
_ASSIGNMENT = re.compile(rf"(\w+) = ({_APPENDED}|{_DEFAULT}|(:\w+))")
_OPERATIONS = ("GetItem", "PutItem", "UpdateItem", "DeleteItem", "BatchGetItem", "TransactWriteItems", "Silence")
_REMOVED = re.compile(r"l\[(\d+)\]")


class Units(NamedTuple):
    """The units that one item takes per second: a write needs one per started kB, a consistent read one per 4 kB."""

    written: float
    read: float


DYNAMODB = Units(1_000, 3_000)


class StandIn:
    """The items by key, and the effect of calls on them, one call after the other."""

    def __init__(self, most: Units | None = None) -> None:
        """Start without items; `most` limits the units that each of them takes per second."""
        self.items: dict[str, Item] = {}
        self.silent_until = 0.0
        self._most = most
        self._left: dict[str, tuple[float, Units]] = {}

    def answer(self, operation: str, content: Mapping[str, Any]) -> tuple[int, Item]:
        """The status and the answer of a call."""
        if operation == "Silence":
            self.silent_until = time.monotonic() + content["seconds"]
            return 200, {}
        if operation == "BatchGetItem":
            return 200, self._read(content["RequestItems"])
        if operation == "TransactWriteItems":
            return self._transacted([item["Update"] for item in content["TransactItems"]])
        key = (content["Item"] if operation == "PutItem" else content["Key"])["k"]["B"]
        before = self.items.get(key)
        if self._is_throttled(key, is_read=operation == "GetItem"):
            return 400, {"__type": f"{_ERROR}ProvisionedThroughputExceededException", "message": "too often"}
        if operation == "GetItem":
            return 200, {} if before is None else {"Item": before}
        return self._written(operation, content, key, before)

    def _written(self, operation: str, content: Mapping[str, Any], key: str, before: Item | None) -> tuple[int, Item]:
        """The status and the answer of a call that writes, if its condition holds."""
        if not _holds(
            content.get("ConditionExpression", ""), before or {}, content.get("ExpressionAttributeValues", {})
        ):
            problem = {"__type": f"{_ERROR}ConditionalCheckFailedException", "message": "no"}
            return 400, problem | ({"Item": before} if "ReturnValuesOnConditionCheckFailure" in content else {})
        if operation == "DeleteItem":
            return 200, {"Attributes": self.items.pop(key)} if before else {}
        if operation == "PutItem":
            self.items[key] = content["Item"]
            return 200, {}
        after = _updated({"k": {"B": key}} | (before or {}), content)
        self.items[key] = after
        kind = content.get("ReturnValues")
        return 200, {"Attributes": after} if kind == "ALL_NEW" else {"Attributes": before} if before and kind else {}

    def _transacted(self, updates: Sequence[Mapping[str, Any]]) -> tuple[int, Item]:
        """The status and the answer of a call that makes all of its updates, or none."""
        keyed = [(update["Key"]["k"]["B"], update) for update in updates]
        held = [
            _holds(update.get("ConditionExpression", ""), self.items.get(key, {}), update["ExpressionAttributeValues"])
            for key, update in keyed
        ]
        if not all(held):
            reasons = ", ".join("None" if holds else "ConditionalCheckFailed" for holds in held)
            return 400, {"__type": f"{_ERROR}TransactionCanceledException", "message": f"[{reasons}]"}
        for key, update in keyed:
            self.items[key] = _updated({"k": {"B": key}} | self.items.get(key, {}), update)
        return 200, {}

    def _read(self, by_table: Mapping[str, Any]) -> Item:
        """The answer to a call that reads several items: those that exist, and the keys that are throttled."""
        responses: dict[str, list[Item]] = {}
        refused: dict[str, Any] = {}
        for name, of_table in by_table.items():
            keys = of_table["Keys"]
            throttled = [key for key in keys if self._is_throttled(key["k"]["B"], is_read=True)]
            items = [self.items.get(key["k"]["B"]) for key in keys if key not in throttled]
            responses[name] = [item for item in items if item is not None]
            if throttled:
                refused[name] = {**of_table, "Keys": throttled}
        return {"Responses": responses, "UnprocessedKeys": refused}

    def _is_throttled(self, key: str, *, is_read: bool) -> bool:
        """Whether an item has too few units left for a call; unused units are kept for one second."""
        if self._most is None:
            return False
        now, size = time.monotonic(), _bytes_of(self.items.get(key, {}))
        at, left = self._left.get(key, (now, self._most))
        written, read = (min(most, of_kind + (now - at) * most) for of_kind, most in zip(left, self._most, strict=True))
        needed = max(-(-size // 4_096), 1) if is_read else max(-(-size // 1_024), 1)
        is_refused = (read if is_read else written) < needed
        if not is_refused:
            written, read = (written, read - needed) if is_read else (written - needed, read)
        self._left[key] = now, Units(written, read)
        return is_refused


def _bytes_of(value: object) -> int:
    """The approximate size of an item in bytes."""
    if isinstance(value, dict):
        return sum(len(name) + (len(of) * 3 // 4 if name == "B" else _bytes_of(of)) for name, of in value.items())
    if isinstance(value, list):
        return sum(map(_bytes_of, value))
    return len(value) if isinstance(value, str) else 1


def _holds(condition: str, item: Item, values: Mapping[str, Any]) -> bool:
    """Whether all parts of a condition hold."""
    for part in condition.split(" AND ") if condition else ():
        if part.startswith("attribute_not_exists"):
            holds = part[len("attribute_not_exists(") : -1] not in item
        elif part.startswith("attribute_exists"):
            holds = part[len("attribute_exists(") : -1] in item
        elif part.startswith("size"):
            holds = "l" in item and len(item["l"]["L"]) >= int(values[":c"]["N"])
        else:
            name, _, value = part.partition(" = ")
            holds = item.get(name) == values[value]
        if not holds:
            return False
    return True


def _updated(item: Item, content: Mapping[str, Any]) -> Item:
    """An updated copy of an item; the original may still have to be sent as an answer."""
    values, (setting, _, removing) = (
        content["ExpressionAttributeValues"],
        content["UpdateExpression"].partition("REMOVE"),
    )
    after = dict(item)
    for name, _, empty, added, default, value in _ASSIGNMENT.findall(setting):
        if added:
            after[name] = {"L": item.get(name, values[empty])["L"] + values[added]["L"]}
        else:
            after[name] = item.get(name, values[default]) if default else values[value]
    if removed := set(map(int, _REMOVED.findall(removing))):
        after["l"] = {"L": [event for place, event in enumerate(after["l"]["L"]) if place not in removed]}
    return after


async def _serve(connection: Connection, most: Units | None) -> None:
    table = StandIn(most)

    async def answer_calls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length:")[2].split("\r\n")[0])
                operation = head.partition("x-amz-target:")[2].split("\r\n")[0].rpartition(".")[2]
                names = {name.lower(): name for name in _OPERATIONS}
                body = json.loads(await reader.readexactly(length))
                if (seconds := table.silent_until - time.monotonic()) > 0:
                    # The call is then executed all the same, although its caller no longer waits for the answer.
                    await asyncio.sleep(seconds)
                if operation not in names:
                    raise SystemExit(f"the stand-in knows no {operation}")
                status, content = table.answer(names[operation], body)
                text = json.dumps(content).encode()
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(text)) + text)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer_calls, "127.0.0.1", 0, backlog=512, limit=1 << 22)
    connection.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _run(connection: Connection, most: Units | None) -> None:
    # With a million items, a garbage collection takes longer than a request waits.
    gc.disable()
    asyncio.run(_serve(connection, most))


@contextmanager
def table_stand_in(most: Units | None = None) -> Iterator[dict[str, str]]:
    """Run such a table for the duration of a block; gives the environment variables with which a client finds it.

    `most` are the units that each of its items takes per second; without it there is no limit.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, most), daemon=True)
    process.start()
    try:
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ours.recv()}",
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "stands in",
            "AWS_SECRET_ACCESS_KEY": "for nobody",
        }
    finally:
        process.kill()
        process.join()
