"""What a search found as JSON: every score is kept, so that a run goes on without searching again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import inf
from typing import Any

from restnet_tf.methods.stitchnet.fragments import Fragment
from restnet_tf.methods.stitchnet.search import Found, Link, Net


def as_json(part: Found) -> dict[str, Any]:
    """A search's findings, to be written."""
    return {
        "nets": [_net_json(net) for net in part.nets],
        "refused": [_net_json(net) for net in part.refused],
        "ended": dict(sorted(part.ended.items())),
    }


def _net_json(net: Net) -> dict[str, Any]:
    plain = {name: getattr(net, name) for name in ("overall", "macs", "params", "accuracy", "knn", "refused")}
    links = [[*link.fragment.key, link.score, link.r2] for link in net.links]
    loss = None if net.loss == inf else net.loss
    return {"name": net.name, **plain, "loss": loss, "right": "".join("01"[r] for r in net.right), "links": links}


def from_json(kept: Mapping[str, Any], pool: Mapping[str, tuple[Fragment, ...]]) -> Found:
    """What ``as_json`` wrote, of the fragments that it was found of."""

    def net(entry: Mapping[str, Any]) -> Net:
        links = tuple(Link(pool[member][index], score, r2) for member, index, score, r2 in entry["links"])
        plain = {name: entry[name] for name in ("overall", "macs", "params", "accuracy", "knn", "refused")}
        loss = inf if entry["loss"] is None else entry["loss"]
        return Net(links, loss=loss, right=tuple(r == "1" for r in entry["right"]), **plain)

    nets, refused = ([net(entry) for entry in kept[name]] for name in ("nets", "refused"))
    return Found(nets, refused, Counter(kept["ended"]))
