"""The table of quantisers: a row each, and what is missing or fails is said."""

from __future__ import annotations

from pathlib import Path

import needs
import numpy as np
import pytest
from networks import anchor, images

from benchmarks import quantisers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def case() -> quantisers.Case:
    x = images(24).astype(np.float32)
    return quantisers.Case(anchor((4, 6), 1, seed=3), x[:8], x[:8], x[8:], np.zeros(16, int))


def rows(text: str) -> dict[str, list[str]]:
    """Cells by the first of a row."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {name: cells for name, *cells in lines if cells and name != "agreement, %"}


@needs.QUANTIZER.mark
def test_every_quantiser_has_a_row_and_one_that_fails_says_why(case, capfd):
    def broken(case: quantisers.Case, network: bytes) -> bytes:
        raise ValueError("no such operator\nin this place")

    quantisers.measure(case, quantisers._recipes() | {"broken": broken})
    printed = capfd.readouterr().out
    assert "broken: left out: no such operator\n" in printed
    table = rows(printed)
    assert {name.partition(" (")[0] for name in table} >= {
        "float32",
        "TensorFlow: int8",
        "ours: int8",
        "ours: int16x8",
        "ai-edge-quantizer: static_wi8_ai8",
        "ai-edge-quantizer: static_wi8_ai16",
    }
    assert table["float32"][0].startswith("100.0 [")
    assert table["float32"][2:4] == ["0.0000", "inf"]
    for name, cells in table.items():
        if name != "float32":
            assert 0 <= float(cells[2]) < 0.1, name
            assert 15 < float(cells[3]) < 90, name


def test_networks_that_are_not_there_are_named(tmp_path: Path, capsys):
    quantisers.main([str(tmp_path), "--model", "DeiT-Tiny"])
    printed = capsys.readouterr().out
    assert f"DeiT-Tiny: left out, as {tmp_path}/anchors/deit_tiny_patch16_224.npz and {tmp_path}/data" in printed
