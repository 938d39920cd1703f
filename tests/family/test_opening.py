"""Options as a run keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest

from restnet_tf.family import opening
from restnet_tf.family.options import Options


def test_a_file_of_values_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "iq.npz").touch()
    assert opening.kept("restnet", Options(data="values:iq.npz"))["data"] == f"values:{tmp_path / 'iq.npz'}"
    assert opening.default_out(["small.keras"], "values:iq.npz") == Path("runs/small-iq")
