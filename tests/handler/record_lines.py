"""The lines of a prediction record, as tests read them."""

import json
from pathlib import Path
from typing import Any


def record_files(folder: Path) -> list[Path]:
    """The files of a record, in the order in which they were started."""
    return sorted(folder.iterdir()) if folder.exists() else []


def record_lines(folder: Path) -> list[dict[str, Any]]:
    """The parsed lines of a record's files, in order."""
    parsed = []
    for path in record_files(folder):
        content = path.read_bytes()
        assert content.endswith(b"\n")
        parsed += [json.loads(line) for line in content.splitlines() if line]
    return parsed
