"""A data set of tensorflow-datasets, made on the spot."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restnet_tf.data.splits import load
from restnet_tf.records import RestnetError

HERE = importlib.util.find_spec("tensorflow_datasets") is not None
COUNTS = {"train": 24, "test": 8}


@pytest.mark.skipif(HERE, reason="tensorflow-datasets is here")
def test_without_the_package_the_error_names_it() -> None:
    with pytest.raises(RestnetError, match=r"tfds:mnist needs .* 'restnet-tf\[tfds\]'"):
        load("tfds:mnist")


@pytest.mark.slow
@pytest.mark.skipif(not HERE, reason="tensorflow-datasets is not installed: tfds:NAME is not tried")
def test_a_set_is_read_with_its_splits_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow_datasets as tfds

    class TwoKinds(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
        """Images of two kinds: red 0 and red 1 in the first pixel."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            names = tfds.features.ClassLabel(names=["cat", "dog"])
            image = tfds.features.Image(shape=(None, None, 3), encoding_format="png")
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({"image": image, "label": names}))

        def _split_generators(self, manager: Any) -> dict[str, Any]:
            return {name: self._generate_examples(name) for name in COUNTS}

        def _generate_examples(self, split: str = "train") -> Iterator[tuple[str, dict[str, Any]]]:
            rng = np.random.default_rng(len(split))
            for i in range(COUNTS[split]):
                pixels = rng.integers(0, 256, (6, 6, 3), np.uint8)
                pixels[0, 0, 0] = i % 2
                yield f"{split}{i}", {"image": pixels, "label": i % 2}

    assert TwoKinds.name == "two_kinds"
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path), raising=False)
    TwoKinds(data_dir=str(tmp_path)).download_and_prepare()
    monkeypatch.setattr(tfds, "builder", lambda name: TwoKinds(data_dir=str(tmp_path)))
    data = load("tfds:two_kinds")
    assert (data.name, data.class_names) == ("two_kinds", ("cat", "dog"))
    assert (len(data.fit) + len(data.rank), len(data.test)) == (24, 8)
    for split in (data.fit, data.rank, data.test):
        images = np.concatenate([np.asarray(batch) for batch in split.batches((6, 6, 3), 8)])
        assert split.labels is not None
        assert images[:, 0, 0, 0].tolist() == split.labels.tolist()
