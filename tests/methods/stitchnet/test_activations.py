"""Activations of pool members in LiteRT: those of Keras, refused where they are not finite."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import networks
import numpy as np
import pytest

from restnet_tf.methods.stitchnet import fragments
from restnet_tf.methods.stitchnet.activations import PoolActivations
from restnet_tf.methods.stitchnet.fragments import FEATURES, Fragment
from restnet_tf.progress import Silent
from restnet_tf.records import Anchor, RestnetError
from tflite_export import convert
from tflite_export.link import Object


@dataclass(frozen=True)
class Pool:
    """One member, compiled."""

    anchor: Anchor
    parts: tuple[Fragment, ...]
    content: bytes

    def activations(self, folder: Path) -> PoolActivations:
        compiled = Object(self.content)
        compiled.cuts = {**compiled.cuts, FEATURES: compiled.scores}
        filled = PoolActivations({"A": compiled}, folder)
        filled.fill({"A": self.parts}, {"A": networks.images(5)}, Silent())
        return filled


def pool(anchor: Anchor) -> Pool:
    member = fragments.member(anchor)
    whole = fragments.trunk(anchor)
    content = convert.compile_object(whole, fragments.tensors(whole, member), "float32", iter(()))
    return Pool(anchor, fragments.split("A", member, 3), content)


def test_activations_are_those_of_keras(tmp_path: Path) -> None:
    member = pool(networks.anchor())
    filled = member.activations(tmp_path / "native")
    end = member.parts[-1]
    trunk = fragments.trunk(member.anchor)
    expected = networks.forward(trunk, networks.images(5))
    np.testing.assert_allclose(filled.native("A", end.stop), expected, rtol=1e-3, atol=1e-4)
    assert end.start is not None
    again = filled.run(end, np.asarray(filled.native("A", end.start)))
    np.testing.assert_allclose(again, expected, rtol=1e-3, atol=1e-4)


def test_workers_that_fill_one_folder_at_once_all_find_it_whole(tmp_path: Path) -> None:
    member = pool(networks.anchor())
    start = member.parts[0].stop
    for attempt in range(3):
        with ThreadPoolExecutor(4) as workers:
            filled = list(workers.map(member.activations, [tmp_path / f"native{attempt}"] * 4))
        first, *others = (np.array(one.native("A", start)) for one in filled)
        for other in others:
            np.testing.assert_array_equal(other, first)


def test_activations_that_are_not_finite_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Infinity passes a ReLU on every processor; the compiler sees it only where a grey image shows it."""
    monkeypatch.setattr(convert, "_check_runs", lambda *arguments: None)
    anchor = networks.anchor()
    bias, kernel = anchor.model.get_layer("stem.conv").weights[1], anchor.model.get_layer("0.0.conv1").weights[0]
    bias.assign(np.full(bias.shape, 1e38, np.float32))
    kernel.assign(np.full(kernel.shape, 1e3, np.float32))
    member = pool(anchor)
    with pytest.raises(RestnetError, match=r"^the features of A at \S+ hold NaN or infinity: its weights are broken"):
        member.activations(tmp_path / "native")
    assert not (tmp_path / "native").exists()


def test_what_a_fragment_makes_has_to_be_finite_too(tmp_path: Path) -> None:
    member = pool(networks.anchor())
    filled, end = member.activations(tmp_path / "native"), member.parts[-1]
    assert end.start is not None
    x = np.full_like(np.asarray(filled.native("A", end.start)), 3e38)  # finite, and too large to add up
    with pytest.raises(RestnetError, match=r"^the features of A at features hold NaN or infinity"):
        filled.run(end, x)
