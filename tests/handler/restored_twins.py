"""Two environments that are restored from one snapshot of a process, as with SnapStart; test_snapshot.py runs this.

Python's state, including that of `random`, is the same in both; each writes its records to standard output.
"""

import json
import os
import random
import sys
from types import SimpleNamespace

from handler.app import handler
from handler.web.gateway import post_event

INVOKED = SimpleNamespace(function_version="1")

N_REQUESTS = 64
REQUEST = {"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2}


def ask(**more: object) -> None:
    """Send a request; sampling decides whether it is recorded."""
    answer = handler(post_event("/api/v1/refund-predict", "", json.dumps(REQUEST | more)), INVOKED)
    assert answer["statusCode"] == 200, answer


def main() -> None:
    """Restore two environments, one after the other."""
    image = random.getstate()
    for twin in ("first", "second"):
        sys.stdout.flush()
        if not (child := os.fork()):
            # A fork reseeds `random`; a snapshot does not.
            random.setstate(image)
            for number in range(N_REQUESTS):
                os.write(1, f'{{"twin": "{twin}", "request": {number}, "drawn": {random.random()}}}\n'.encode())  # noqa: S311 - must not influence the sampling
                ask()
            for number in range(N_REQUESTS):
                os.write(1, f'{{"twin": "{twin}", "named": {number}}}\n'.encode())
                ask(refund_id=f"r{number}")
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
