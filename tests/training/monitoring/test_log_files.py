"""Files of a log as other services deliver them: content and layout decide how they are read, not names."""

import bz2
import gzip
import json
import lzma
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from tests.training.monitoring.log_lines import BINNING, START, outcome, prediction
from tests.training.monitoring.test_log_lines import ENVELOPES
from training.errors import DataError
from training.monitoring import log_files
from training.monitoring.log import read_log

N = 50
LINES = [
    *(prediction(time=START + number, id=f"é{number}", probability=number / N) for number in range(N)),
    *(outcome(time=START + number, id=f"é{number}") for number in range(N)),
]
TEXTS = [json.dumps(line, ensure_ascii=False) for line in LINES]
PLAIN = "\n".join(TEXTS).encode()
DELIVERIES = ENVELOPES | {
    "pretty-printed": lambda lines: "\n".join(json.dumps(json.loads(line), indent=2) for line in lines),
    "pretty-printed, in an array": lambda lines: json.dumps([json.loads(line) for line in lines], indent=4),
    "pretty-printed, without line ends between": lambda lines: "".join(
        json.dumps(json.loads(line), indent=2) for line in lines
    ),
    "subscriptions without line ends": lambda lines: "".join(
        [json.dumps({"messageType": "CONTROL_MESSAGE", "logEvents": [{"message": "CWL CONTROL MESSAGE: {}"}]})]
        + [json.dumps({"messageType": "DATA_MESSAGE", "logEvents": [{"message": f"{line}\n"}]}) for line in lines]
    ),
}


def counts(path: Path) -> dict[str, int]:
    """The numbers of predictions and outcomes in a log, without lines that a delivery adds."""
    log = read_log(str(path), "mini", BINNING)
    assert len(log.time) == log.counts.get("predictions", 0)
    return {name: count for name, count in log.counts.items() if name not in {"empty lines", OTHER}}


OTHER = "other lines, such as metrics"
ALL = {"predictions": N, "outcomes": N}


@pytest.mark.parametrize("size", [None, 700])
@pytest.mark.parametrize("name", DELIVERIES)
def test_delivery_is_read(name: str, size: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every record is found and nothing else is counted, in chunks of any size."""
    if size:
        monkeypatch.setattr(log_files, "CHUNK_BYTES", size)
        monkeypatch.setattr(log_files, "HEAD_BYTES", size)
    (tmp_path / "delivered").write_text(DELIVERIES[name](TEXTS), encoding="utf-8")
    assert counts(tmp_path / "delivered") == ALL


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("delivered", gzip.compress(PLAIN)),
        ("delivered.jsonl", gzip.compress(PLAIN[:999]) + gzip.compress(PLAIN[999:])),
        ("delivered.gz", PLAIN),
        ("delivered.gz", gzip.compress(gzip.compress(PLAIN))),
        ("delivered", gzip.compress(b"".join(gzip.compress(f"{line}\n".encode()) for line in TEXTS))),
    ],
    ids=["gzip without its suffix", "two members", "the suffix alone", "packed twice", "members packed again"],
)
def test_first_bytes_decide(name: str, content: bytes, tmp_path: Path) -> None:
    """A file is unpacked as often as it was packed, whatever its name."""
    (tmp_path / name).write_bytes(content)
    assert counts(tmp_path / name) == ALL


def test_rotated_files_are_one_log(tmp_path: Path) -> None:
    """Packed and plain files of a folder are read together, and bookkeeping files are skipped."""
    (tmp_path / ".DS_Store").write_bytes(b"\0Bud1{")
    (tmp_path / "_SUCCESS").touch()
    for number, pack in enumerate((bytes, gzip.compress, bytes)):
        (tmp_path / f"log.{number}").write_bytes(pack("\n".join(TEXTS[number::3]).encode()))
    assert counts(tmp_path) == ALL


def as_zip(content: bytes) -> bytes:
    """A zip archive with one file."""
    target = BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("log.jsonl", content)
    return target.getvalue()


@pytest.mark.parametrize(
    ("pack", "sentence"),
    [
        (as_zip, "is a zip archive; unpack it"),
        (bz2.compress, "is a bzip2 file; unpack it"),
        (lzma.compress, "is an xz file; unpack it"),
        (lambda content: content.decode().encode("utf-16"), "is encoded as UTF-16; convert it with iconv"),
        (lambda content: content.decode().encode("utf-16-le"), "is encoded as UTF-16; convert it with iconv"),
        (lambda _: b"PAR1", "is a Parquet file; write its records as lines of JSON"),
        (lambda content: gzip.compress(as_zip(content)), "is a zip archive; unpack it"),
        (lambda content: content + b"\n" + gzip.compress(content), "contains gzip data among its lines; decompress"),
        (lambda content: gzip.compress(content)[:-20], "is a truncated or corrupt gzip file: "),
    ],
    ids=[
        "zip",
        "bzip2",
        "xz",
        "UTF-16 with its mark",
        "UTF-16",
        "Parquet",
        "zip within gzip",
        "gzip within",
        "truncated gzip",
    ],
)
def test_other_file_is_named(pack: Callable[[bytes], bytes], sentence: str, tmp_path: Path) -> None:
    """A file without lines of JSON is refused with what it is and a remedy."""
    path = tmp_path / "delivered.jsonl"
    path.write_bytes(pack(PLAIN))
    with pytest.raises(DataError, match=f"delivered.jsonl {sentence}"):
        read_log(str(path), "mini", BINNING)


def test_torn_object_hides_no_other(tmp_path: Path) -> None:
    """Among objects without line ends, or over several lines, only a truncated one is lost."""
    alphabetic = [json.dumps(line, sort_keys=True) for line in LINES]
    forms = (DELIVERIES["without line ends"], DELIVERIES["pretty-printed, without line ends between"])
    # If no key shows where a record begins, the record after the truncated one may be lost too.
    for form, texts, n_lost in ((forms[0], TEXTS, 1), (forms[1], TEXTS, 1), (forms[0], alphabetic, 2)):
        torn = form(texts[:10])[:-40] + form(texts[10:])
        (tmp_path / "delivered").write_text(torn, encoding="utf-8")
        read = counts(tmp_path / "delivered")
        assert (read.pop("predictions"), read.pop("outcomes")) == (N - n_lost, N)
        assert read.keys() == {"broken lines (no JSON, or cut short)"}


def test_document_beyond_all_length_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are read even from a document that is longer than the longest line."""
    for name, size in (("CHUNK_BYTES", 700), ("HEAD_BYTES", 700), ("LONGEST_LINE_BYTES", 2_000)):
        monkeypatch.setattr(log_files, name, size)
    (tmp_path / "delivered").write_text(json.dumps({"events": LINES}), encoding="utf-8")
    assert counts(tmp_path / "delivered").items() >= ALL.items()


def test_document_without_end_is_not_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content that is no record and is longer than any is discarded and counted as broken."""
    for name, size in (("CHUNK_BYTES", 100), ("HEAD_BYTES", 100), ("LONGEST_LINE_BYTES", 400)):
        monkeypatch.setattr(log_files, name, size)
    (tmp_path / "delivered").write_text('{"a": [' + "1, " * 1_000 + '"\n' + "\n".join(TEXTS), encoding="utf-8")
    assert max(map(len, log_files.read_chunks(str(tmp_path / "delivered")))) < 2_000
    assert counts(tmp_path / "delivered").items() >= ALL.items()
