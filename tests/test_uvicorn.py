"""The application under uvicorn, over real connections: fuzzed from its own document, and sent malformed requests."""

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx2
import pytest

from benchmarks.serving.fuzz import UNDECIDABLE

ROOT = Path(__file__).parents[1]
REFUND = {"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2}
ROUTE = "/api/v1/refund-predict"
TIMEOUT_SECONDS = 2
N_SLOW = 1000
# A case takes some 25 ms, most of it to generate it; `make robust` runs 2,000 for each route.
MAX_EXAMPLES = 15


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the server records predictions."""
    return tmp_path_factory.mktemp("record") / "log"


@pytest.fixture(scope="module")
def address(
    folder: Path, under_uvicorn: Callable[..., AbstractContextManager[tuple[str, int]]]
) -> Iterator[tuple[str, int]]:
    """The address of uvicorn, which records, and has a short timeout for bodies."""
    with under_uvicorn(ROOT, BODY_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS), PREDICTIONS=str(folder)) as address:
        yield address


def url(address: tuple[str, int], route: str) -> str:
    """The address of a route."""
    host, port = address
    return f"http://{host}:{port}{route}"


def test_the_document_keeps_what_it_promises(address: tuple[str, int], tmp_path: Path) -> None:
    """Schemathesis generates requests from the OpenAPI document and finds no 5xx and no undocumented answer."""
    schemathesis = Path(sys.executable).with_name("schemathesis")
    options = [*f"--max-examples {MAX_EXAMPLES} --seed 7 --request-timeout 60".split(), *UNDECIDABLE]
    run = subprocess.run(
        [schemathesis, "--no-color", "run", url(address, "/openapi.json"), *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    ((generated, passed),) = re.findall(r"(\d+) generated, (\d+) passed", run.stdout)
    assert int(generated) == int(passed) >= 7 * MAX_EXAMPLES


def ask(address: tuple[str, int], sent: bytes) -> bytes:
    """Everything the server answers to some bytes until it closes the connection or says no more."""
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


def status_of(answer: bytes) -> int:
    """The status of an HTTP/1.1 answer."""
    return int(answer.split(b" ", maxsplit=2)[1])


HEAD = b"Host: localhost\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    "request_head",
    [
        b"POST /predict HTTP/1.1\r\nX-Long: " + b"x" * 65_536 + b"\r\n" + HEAD,
        b"POST /pre\x00dict HTTP/1.1\r\n" + HEAD,
        b"POST /pre%00dict HTTP/1.1\r\n" + HEAD,
        b"POST /pre\xff\xfedict HTTP/1.1\r\n" + HEAD,
        b"POST /pre%ff%fedict HTTP/1.1\r\n" + HEAD,
        b"GET /predict HTTP/1.1\r\n" + HEAD,
        b"POST /predict HTTP/1.1\r\nContent-Length: abc\r\n" + HEAD,
        b"nonsense\r\n",
    ],
    ids=["header of 64 kB", "NUL", "%00", "no UTF-8", "%ff%fe", "method", "length", "nonsense"],
)
def test_a_rude_request_is_a_4xx(address: tuple[str, int], request_head: bytes) -> None:
    """The next request is answered as always."""
    assert 400 <= status_of(ask(address, request_head + b"\r\n")) < 500
    assert httpx2.post(url(address, ROUTE), json=REFUND, trust_env=False).status_code == 200


async def slowly(address: tuple[str, int]) -> int:
    """The status for a client that announces a body and sends only one byte of it."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{".encode())
    answer = await reader.read(65536)
    writer.close()
    return status_of(answer)


def test_a_thousand_slow_bodies_are_each_refused(address: tuple[str, int]) -> None:
    """Each gets its 408, and whole requests are answered at the same time."""

    async def all_at_once() -> tuple[list[int], list[int]]:
        slow = [asyncio.create_task(slowly(address)) for _ in range(N_SLOW)]
        await asyncio.sleep(0.5)
        async with httpx2.AsyncClient(trust_env=False) as client:
            answers = [await client.post(url(address, ROUTE), json=REFUND) for _ in range(20)]
        return await asyncio.gather(*slow), [answer.status_code for answer in answers]

    slow, whole = asyncio.run(all_at_once())
    assert slow == [408] * N_SLOW
    assert whole == [200] * 20


def test_many_clients_get_their_own_answers(address: tuple[str, int], folder: Path) -> None:
    """Each answer belongs to its request, and is recorded once, in a whole line, beside its outcome."""
    ids = [f"recorded {number}" for number in range(200)]

    async def answer_to(client: httpx2.AsyncClient, number: int) -> str:
        request = {**REFUND, "amount": number, "refund_id": ids[number]}
        answer = await client.post(url(address, ROUTE), json=request)
        outcome = {"scorer": "refund", "id": ids[number], "label": False}
        (await client.post(url(address, "/outcomes"), json=[outcome])).raise_for_status()
        return str(answer.raise_for_status().json()["refund_id"])

    async def all_at_once() -> list[str]:
        async with httpx2.AsyncClient(trust_env=False) as client:
            return await asyncio.gather(*(answer_to(client, number) for number in range(len(ids))))

    assert asyncio.run(all_at_once()) == ids
    # An answer's line is written once it is sent.
    httpx2.get(url(address, "/health"), trust_env=False).raise_for_status()
    lines = [json.loads(line) for path in folder.iterdir() for line in path.read_bytes().splitlines()]
    for kind in ("record", "outcome"):
        recorded = [line["id"] for line in lines if kind in line and (line["id"] or "").startswith("recorded ")]
        assert sorted(recorded) == sorted(ids)
