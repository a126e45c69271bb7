"""Whether this machine has a Docker engine."""

import shutil
import subprocess


def has_docker() -> bool:
    """Whether a Docker engine answers."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=60, check=False).returncode == 0
