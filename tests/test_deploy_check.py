"""What is known before a deployment: the artifact's facts, and its answers in a bare interpreter."""

import importlib.util
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from handler.app import handler
from training.delivery.artifact import MAX_BYTES, Artifact, faults, read_artifact
from training.delivery.ask_golden import ask_all, golden_event, probability_of
from training.delivery.emulation import EMULATED, own_architecture
from training.delivery.template import RefusedParameterError, deployed
from training.deploy_check import aligned, checked, golden_answers, made

BUNDLES = Path(__file__).parents[1] / "build" / "bundles"
X86_64, ARM64 = 62, 183
OTHER = "x86_64" if own_architecture() == "arm64" else "arm64"


def library(machine: int, *versions: str) -> bytes:
    """The parts of a shared library that this project reads."""
    symbols = b"".join(b"\0GLIBC_" + version.encode() for version in versions)
    return b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little") + bytes(44) + symbols


def compiled(source: bytes, *, flags: int = 1) -> bytes:
    """The .pyc of a source, with the header that Python checks."""
    return importlib.util.MAGIC_NUMBER + flags.to_bytes(4, "little") + importlib.util.source_hash(source) + b"code"


GOOD = {
    "lib.so": library(X86_64, "2.17", "2.34"),
    "package/module.py": b"1\n",
    "package/__pycache__/module.cpython-313.pyc": compiled(b"1\n"),
}


@pytest.mark.parametrize(
    ("change", "sentences"),
    [
        # Right processor, GLIBC at the limit, compiled, small.
        ({}, []),
        ({"lib.so": library(ARM64)}, ["libraries not built for x86_64: lib.so (arm64)"]),
        ({"lib.so": library(243)}, ["libraries not built for x86_64: lib.so (243)"]),
        ({"lib.so": b""}, ["it contains no shared library; XGBoost's is missing"]),
        ({"lib.so": library(X86_64, "2.4", "2.35")}, ["libraries that need a newer GLIBC than Lambda's 2.34: lib.so"]),
        ({"package/module.py": b"2\n"}, ["modules that would be compiled at each cold start: package/module.py"]),
        ({"other.py": b""}, ["modules that would be compiled at each cold start: other.py"]),
        (
            {"package/__pycache__/module.cpython-313.pyc": compiled(b"1\n", flags=0)},
            ["modules that would be compiled at each cold start: package/module.py"],
        ),
        ({"data": bytes(MAX_BYTES)}, ["it has 45.0 MB unzipped; at most 45 MB are allowed"]),
    ],
)
def test_each_fault_is_a_sentence(change: dict[str, bytes], sentences: list[str]) -> None:
    """The sentence names the file; a sound artifact has none."""
    assert faults(Artifact({**GOOD, **change}), "x86_64") == sentences


def test_the_zip_is_smaller() -> None:
    """What compresses is compressed."""
    artifact = Artifact({"zeros": bytes(100_000)})
    assert artifact.n_zipped_bytes < 1_000 < artifact.n_bytes


def test_the_golden_requests_are_answered_as_in_training() -> None:
    """They go through the handler, as from API Gateway."""
    result = ask_all(handler, BUNDLES)
    assert result["asked"] == sum(
        "past" not in case for path in BUNDLES.glob("*/golden.json") for case in json.loads(path.read_bytes())
    )
    assert result["wrong"] == []
    assert 0 < result["off"] < 1e-12


def test_a_decision_gives_the_probability_of_its_class() -> None:
    """The confidence in "no fraud" is one minus the probability."""
    assert probability_of({"prediction": 0, "confidence": 0.75}) == 0.25
    assert probability_of({"prediction": 1, "confidence": 0.75}) == 0.75
    assert probability_of({"fraud_probability": 0.5, "is_flagged": True}) == 0.5


@pytest.mark.parametrize(
    ("answer", "sentence", "off"),
    [
        ({"statusCode": 500, "body": "{}"}, "golden request 1 is answered with 500", 1.0),
        (
            {"statusCode": 200, "body": '{"fraud_probability": 0.5}'},
            "golden request 1 gives 0.5; training gave 0.25",
            0.25,
        ),
    ],
)
def test_a_wrong_answer_is_reported(answer: dict[str, Any], sentence: str, off: float, tmp_path: Path) -> None:
    """The sentence has the bundle, the request's number and both values."""
    bundle = tmp_path / "mini"
    bundle.mkdir()
    (bundle / "manifest.json").write_text('{"contract": {"route": "/mini"}}')
    (bundle / "golden.json").write_text('[{"request": {}, "probability": 0.25}]')
    answers = ask_all(lambda _event, _context: answer, tmp_path)
    assert (answers["asked"], answers["wrong"]) == (1, [f"mini: {sentence}"])
    assert answers["off"] == off


def test_an_event_is_one_that_the_handler_takes() -> None:
    """A request that breaks the contract gets the contract's answer, not the guard's."""
    assert handler(golden_event("/predict", {}), None)["statusCode"] == 422


def test_the_built_artifact_answers_alone(built_template: Path) -> None:
    """It runs in a bare interpreter with nothing else on its path; its line in the table has the result."""
    line, problems = checked(own_architecture(), built_template.parent / "FraudFunction")
    assert problems == []
    assert line[0] == own_architecture()
    assert re.fullmatch(r"run: 24 of 24, at most \de-1\d off", line[-1])


@pytest.fixture
def other_artifact(tmp_path: Path) -> Path:
    """The artifact for the processor that this machine is not."""
    arguments = (f"ARCHITECTURE={OTHER}", f"BUILD_DIR={tmp_path / 'build'}")
    assert made("artifact", *arguments) == []
    return tmp_path / "build" / "FraudFunction"


def test_the_other_processors_artifact_is_bound_to_it(other_artifact: Path) -> None:
    """It is whole, and its template takes no other processor; without emulation its line says that it was not run."""
    template = other_artifact.parent / "template.yaml"
    function = deployed({}, template=template)["Resources"]["FraudFunction"]["Properties"]
    assert function["Architectures"] == [OTHER]
    with pytest.raises(RefusedParameterError, match="for another processor"):
        deployed({"Architecture": own_architecture()}, template=template)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PATH", str(other_artifact))
        line, problems = checked(OTHER, other_artifact)
    assert problems == []
    assert line[-1] == "not run: there is no apt-get; emulation needs Debian"


@pytest.mark.skipif(
    not (EMULATED / OTHER).exists(), reason="there is no emulated Python; `make deploy-check` fetches one, on Debian"
)
def test_the_other_processors_artifact_answers_under_emulation(other_artifact: Path) -> None:
    """The golden requests give the same on both processors."""
    line, problems = checked(OTHER, other_artifact)
    assert problems == []
    assert re.fullmatch(r"run by QEMU: 24 of 24, at most \de-1\d off", line[-1])


def test_an_artifact_that_does_not_start_is_reported(built_template: Path, tmp_path: Path) -> None:
    """The report has the message of the exception."""
    shutil.copytree(built_template.parent / "FraudFunction", tmp_path / "artifact")
    shutil.rmtree(tmp_path / "artifact" / "mangum")
    result = "it does not start"
    sentence = f"{result}: ModuleNotFoundError: No module named 'mangum'"
    assert golden_answers(tmp_path / "artifact", {}) == (result, [sentence])


def test_an_artifact_without_golden_requests_is_reported(tmp_path: Path) -> None:
    """No request shows that it answers well."""
    (tmp_path / "handler").mkdir()
    (tmp_path / "handler" / "app.py").write_text("handler = None\n")
    (tmp_path / "build" / "bundles").mkdir(parents=True)
    assert golden_answers(tmp_path, {}) == ("0 of 0, at most 0e+00 off", ["its bundles hold no golden requests"])


def test_a_failed_make_is_reported() -> None:
    """The report has its output; an architecture that Lambda does not have fails before anything is built."""
    assert made("help") == []
    (failure,) = made("no-such-target")
    assert failure.startswith("make no-such-target failed:\n")
    assert "No rule to make target" in failure
    (failure,) = made("artifact", "ARCHITECTURE=riscv")
    assert "ARCHITECTURE is riscv; it must be x86_64 or arm64" in failure


def test_columns_are_aligned() -> None:
    """Each as wide as its widest cell."""
    assert aligned([("a", "bb"), ("ccc", "d")]) == "a    bb\nccc  d"


def test_reading_an_artifact_finds_every_file(tmp_path: Path) -> None:
    """Each has its path relative to the folder."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"1")
    assert read_artifact(tmp_path).files == {"a/b/c": b"1"}
