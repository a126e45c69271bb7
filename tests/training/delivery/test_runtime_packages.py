"""The artifact's packages are read from the committed file, and anything else in such a file is refused."""

import re
from pathlib import Path

import pytest

from training.delivery.runtime_packages import REQUIREMENTS, RuntimePackage, read_runtime_packages
from training.errors import StageError

ONE, TWO = "1" * 64, "2" * 64
PINNED = f"some-package==1.0 \\\n    --hash=sha256:{TWO} \\\n    --hash=sha256:{ONE}\n"


def test_the_committed_file_is_read() -> None:
    """Each package has a version and at least one hash; those that every cold start imports are included."""
    packages = {package.name: package for package in read_runtime_packages()}
    text = REQUIREMENTS.read_text()
    assert len(packages) == text.count("==")
    assert sum(len(package.sha256) for package in packages.values()) == text.count("--hash=sha256:")
    assert {"fastapi", "mangum", "pydantic", "xgboost-cpu"} <= packages.keys()
    assert f"fastapi=={packages['fastapi'].version} " in text


def test_hashes_are_sorted_and_comments_ignored(tmp_path: Path) -> None:
    """The order of hashes in the file does not matter."""
    path = tmp_path / "requirements.txt"
    path.write_text(f"# a comment\n\n{PINNED}")
    assert read_runtime_packages(path) == (RuntimePackage("some-package", "1.0", (ONE, TWO)),)


def test_packages_for_other_systems_are_left_out(tmp_path: Path) -> None:
    """`make lock` resolves for all systems, but the artifact is built for one."""
    path = tmp_path / "requirements.txt"
    path.write_text(
        PINNED.replace("==1.0", "[extra]==1.0 ; sys_platform == 'linux'")
        + PINNED.replace("some-package==1.0", "colorama==0.4 ; sys_platform == 'win32'")
    )
    assert [package.name for package in read_runtime_packages(path)] == ["some-package"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(None, "cannot be read: No such file or directory", id="missing"),
        pytest.param(b"", "is damaged: it pins no package", id="empty"),
        pytest.param(b"\xff\xfe", "is damaged: it is not valid UTF-8", id="no text"),
        pytest.param(b"fastapi\n", "is damaged: 'fastapi' is not a package with a version and hashes", id="no version"),
        pytest.param(b"fastapi==1.0\n", "'fastapi==1.0' is not a package with a version and hashes", id="no hash"),
        pytest.param(PINNED[:-9].encode(), "is not a package with a version and hashes", id="cut off"),
        pytest.param(PINNED[: PINNED.rindex("    ")].encode(), "is not a package with", id="cut off after a line"),
        pytest.param(f"{PINNED}<<<<<<< HEAD\n".encode(), "'<<<<<<< HEAD' is not a package", id="conflict"),
        pytest.param(f"{PINNED}{PINNED}".encode(), "some-package is listed twice", id="twice"),
        pytest.param(PINNED.replace("1.0", "1.*").encode(), "is not a package with a version", id="any version"),
        pytest.param(PINNED.replace("==", ">=").encode(), "is not a package with a version", id="no exact version"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """The sentence names the file, what is wrong, and the command that writes it."""
    path = tmp_path / "requirements.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StageError, match=rf"^{re.escape(str(path))} .*{problem}.*; `make lock` writes it, `git che"):
        read_runtime_packages(path)
