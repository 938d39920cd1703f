"""Sentences of records, in one place: nothing reads them but people."""

from __future__ import annotations

from typing import Any

from restnet_tf.records import Reason
from tflite_export.budget import amount

# By code of a reason, with its facts.
_SENTENCES = {
    "note": "{text}",
    "no_adapter": "no adapter from {source} to {target}",
    "class_tokens": "no adapter from {counts[0]} class tokens to {counts[1]}",
    "unknown_places": "tokens whose places are not known go to as many such tokens alone",
    "resolutions": "resolutions too far apart{sizes}",
    "as_dear_as_anchor": "costs no less than the {rival} anchor",
    "as_cheap_as_anchor": "costs no more than the {rival} anchor",
    "anchor_again": "is the anchor {rival} itself behind another embedding of the image",
    "as_dear_as_neighbour": "costs no less than the costlier of the two anchors",
    "as_cheap_as_neighbour": "costs no more than the cheaper of the two anchors",
    "over_budget": "{excess}",
    "not_shortlisted": "not shortlisted: {count} plans of about its cost {ahead}",
    "higher_kl": "{rival} costs about as much and has a lower KL",
    "halved": "{rival} costs about as much and came down faster in the first tenth of the training",
    "higher_estimate": "not tried: enough plans of about its cost have a lower sum of their jumps' KLs",
    "too_little_left": "leaves less than {limit:.0%} of the network",
    "thinned": "not among the {count} points asked for, which are spread evenly by cost",
    "no_better": "{rival} is the same network, and the lead over it is no more than noise",
    "random_twin": "{rival}, its route behind a random front, does as well up to noise",
    "scratch_twin": "{rival}, its network trained from nothing, does as well up to noise",
    "dominated": "{rival} costs no more and does no worse",
    "higher_loss": "dominated: {rival} costs no more and has no higher loss",
    "long_front": "more than {count} nets on the front",
    "too_deep": "deeper than {count} fragments",
    "enough_nets": "{count} nets of one start are enough",
    "low_score": "a score below --least {limit:g}",
    "low_overall": "an overall score below --least-overall {limit:g}",
    "no_better_on_mean": "{rival} costs no more on the mean, and the lead over it is no more than noise",
    "on_chord": "a coin that picks one of its stages does as well at this mean cost, up to noise",
    "dominated_on_mean": "{rival} costs no more on the mean and does no worse",
    "simpler": "{rival} is simpler, costs as much on the mean and does as well, up to noise",
}


def sentence(reason: Reason | None) -> str:
    """A reason in words, without a full stop; empty where there is none."""
    return "" if reason is None else _SENTENCES[reason.code].format_map(_facts(reason))


def _facts(reason: Reason) -> dict[str, Any]:
    return vars(reason) | {
        "ahead": "were drawn" if reason.figure == "random" else f"have a higher {(reason.figure or '').upper()}",
        "sizes": "" if reason.sizes is None else ": {}x{} to {}x{}".format(*reason.sizes[0], *reason.sizes[1]),
        "excess": ", ".join(f"over the budget {e.term}{_value(e.figure, e.value)}" for e in reason.excess),
    }


def _value(figure: str, value: float | None) -> str:
    return "" if value is None else f": {amount(figure, value)}"
