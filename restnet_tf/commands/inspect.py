"""Where a model can be cut."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from restnet_tf.anchors import zoo
from restnet_tf.graph import cuts
from restnet_tf.records import Anchor, Cut


@dataclass(frozen=True)
class Inspection:
    """An anchor and its cuts, from input to output."""

    anchor: Anchor
    cuts: tuple[Cut, ...]


def inspect(
    model: str,
    *,
    arch: str | None = None,
    preprocess: str = "none",
    weights: str = "imagenet",
    weights_dir: Path | None = None,
) -> Inspection:
    """Load a model by name or file and find its cuts; raises ``RestnetError`` where it has none."""
    anchor = zoo.load(model, weights=weights, weights_dir=weights_dir, arch=arch, preprocess=preprocess)
    return Inspection(anchor, cuts.find(anchor.model))


def as_json(inspection: Inspection) -> str:
    """The cuts with all that is known of them, as JSON."""
    content = {"anchor": inspection.anchor.name, "cuts": [asdict(cut) for cut in inspection.cuts]}
    return json.dumps(content, indent=1)
