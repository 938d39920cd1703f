"""Inputs that the tests of the commands share."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from console import anchors


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """large.keras, small.keras and data.npz, which go together."""
    folder = tmp_path_factory.mktemp("inputs")
    for role, anchor in anchors().items():
        anchor.model.save(folder / f"{role}.keras")
    np.savez(folder / "data.npz", x=networks.images(60), y=np.arange(60) % networks.CLASSES)
    return folder
