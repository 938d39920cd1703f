"""Packages of npm for tests: installed once into ``build/npm``, from there on at hand; what lacks one is skipped."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import paths
import pytest
from filelock import FileLock

_SECONDS = 120


def folder(requirement: str) -> Path:
    """Where ``node_modules`` with a package lies; skips the test, saying so, where npm does not bring it."""
    place, reason = _installed(requirement)
    if reason:
        pytest.skip(reason)
    return place


@cache
def _installed(requirement: str) -> tuple[Path, str]:
    place = paths.ROOT / "build" / "npm" / requirement.replace("/", "-").lstrip("@")
    done = place / "installed"
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / "lock"):
        if done.exists():
            return place, ""
        if shutil.which("npm") is None:
            return place, f"no npm here, which brings {requirement}: apt-get install npm"
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(place), requirement]
        try:
            tried = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            return place, f"npm did not bring {requirement} within {_SECONDS} seconds"
        if tried.returncode:
            return place, f"npm did not bring {requirement}: {tried.stderr.strip()[:200]}"
        done.touch()
        return place, ""
