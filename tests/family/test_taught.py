"""The small anchor that the large one taught: kept whole in the run, and loaded by any process, whatever its base."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import networks
import numpy as np

from restnet_tf.anchors import training
from restnet_tf.family import taught
from restnet_tf.family.anchor_pieces import Members
from restnet_tf.run.directory import Run
from restnet_tf.stitches import variant
from restnet_tf.work import sources
from restnet_tf.work.sources import AnchorSource, ModelSource


def small_family(folder: Path) -> Any:
    """What ``taught`` reads of a family, with a model that lies in a file."""
    (folder / "small.keras").write_bytes(training.as_file(networks.anchor().model))
    model = ModelSource(str(folder / "small.keras"))
    anchor = model.load()
    named = {"small": AnchorSource(model, anchor.sha256)}
    return SimpleNamespace(run=Run(folder / "run"), smallest="small", anchors={"small": anchor}, sources=named)


def test_any_process_loads_it_by_its_source_whatever_became_of_the_anchor(tmp_path: Path) -> None:
    family = small_family(tmp_path)
    assert taught.of_run(family) == {}
    anchor = family.anchors["small"]
    kernels = {path: 1.5 * value for path, value in variant.weights(anchor).items() if path.startswith("0.0.conv1")}
    network = taught.keep(family, kernels)
    image = networks.images(1)
    answer = networks.forward(network.model, image)
    assert np.abs(answer - networks.forward(anchor.model, image)).max() > 1e-4
    # Another build of the run may have trained the anchor itself by then.
    family.anchors = {"small": variant.trained(anchor, {p: 0.5 * v for p, v in kernels.items()})}
    (name, source), *others = taught.of_run(family).items()
    assert (name, others, source.sha256) == ("small*", [], network.sha256)
    sources.forget()  # as another process
    loaded = sources.anchor(source)
    np.testing.assert_array_equal(networks.forward(loaded.model, image), answer)
    members = Members(family, {}, {}, {name: source})
    np.testing.assert_array_equal(networks.forward(members.model(name), image), answer)
    assert members.input_shape(name) == (8, 8, 3)
    assert members.source(name) is source
    assert members.source("small") is family.sources["small"]
    sources.forget()
