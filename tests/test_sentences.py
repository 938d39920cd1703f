"""Words are for people: every reason has its sentence, and no code takes a sentence or a name apart."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from restnet_tf import words
from restnet_tf.records import FACTS, Excess, Reason

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for package in ("restnet_tf", "tflite_export") for path in (ROOT / package).rglob("*.py"))
# What holds words for people, or a name that only says which point is meant.
SPOKEN = {"reason", "message", "title", "sentence", "refused", "ended"}
POINTS = {"p", "q", "plan", "point", "net", "rival", "winner"}
APART = {"split", "rsplit", "partition", "rpartition", "startswith", "endswith", "removeprefix", "removesuffix"}
APART |= {"find", "splitlines"}
MATCHES = {"match", "fullmatch", "search", "findall", "finditer", "sub"}

EVERY = {
    "note": (Reason.note("because"), "because"),
    "no_adapter": (Reason("no_adapter", source="grid", target="vector"), "no adapter from grid to vector"),
    "class_tokens": (Reason("class_tokens", counts=(2, 1)), "no adapter from 2 class tokens to 1"),
    "unknown_places": (
        Reason("unknown_places"),
        "tokens whose places are not known go to as many such tokens alone",
    ),
    "resolutions": (
        Reason("resolutions", sizes=((16, 12), (4, 3))),
        "resolutions too far apart: 16x12 to 4x3",
    ),
    "as_dear_as_anchor": (Reason("as_dear_as_anchor", rival="large"), "costs no less than the large anchor"),
    "as_cheap_as_anchor": (Reason("as_cheap_as_anchor", rival="small"), "costs no more than the small anchor"),
    "anchor_again": (
        Reason("anchor_again", rival="B"),
        "is the anchor B itself behind another embedding of the image",
    ),
    "as_dear_as_neighbour": (Reason("as_dear_as_neighbour"), "costs no less than the costlier of the two anchors"),
    "as_cheap_as_neighbour": (Reason("as_cheap_as_neighbour"), "costs no more than the cheaper of the two anchors"),
    "over_budget": (
        Reason("over_budget", excess=(Excess("macs<=30M", "macs", 31e6), Excess("flash<=1KB", "flash", 2048))),
        "over the budget macs<=30M: 31 M, over the budget flash<=1KB: 2.05 KB",
    ),
    "not_shortlisted": (
        Reason("not_shortlisted", count=6, figure="cka"),
        "not shortlisted: 6 plans of about its cost have a higher CKA",
    ),
    "higher_kl": (Reason("higher_kl", rival="L0-S0"), "L0-S0 costs about as much and has a lower KL"),
    "halved": (
        Reason("halved", rival="L0-S0", count=10**9),
        "L0-S0 costs about as much and came down faster in the first tenth of the training",
    ),
    "higher_estimate": (
        Reason("higher_estimate"),
        "not tried: enough plans of about its cost have a lower sum of their jumps' KLs",
    ),
    "too_little_left": (Reason("too_little_left", limit=0.5), "leaves less than 50% of the network"),
    "thinned": (
        Reason("thinned", count=5),
        "not among the 5 points asked for, which are spread evenly by cost",
    ),
    "dominated": (Reason("dominated", rival="L0-S0"), "L0-S0 costs no more and does no worse"),
    "no_better": (
        Reason("no_better", rival="small"),
        "small is the same network, and the lead over it is no more than noise",
    ),
    "random_twin": (
        Reason("random_twin", rival="random-L0-S0"),
        "random-L0-S0, its route behind a random front, does as well up to noise",
    ),
    "scratch_twin": (
        Reason("scratch_twin", rival="from-scratch-L0-S0"),
        "from-scratch-L0-S0, its network trained from nothing, does as well up to noise",
    ),
    "higher_loss": (Reason("higher_loss", rival="A1-B2"), "dominated: A1-B2 costs no more and has no higher loss"),
    "long_front": (Reason("long_front", count=6), "more than 6 nets on the front"),
    "too_deep": (Reason("too_deep", count=16), "deeper than 16 fragments"),
    "enough_nets": (Reason("enough_nets", count=20), "20 nets of one start are enough"),
    "low_score": (Reason("low_score", limit=0.5), "a score below --least 0.5"),
    "low_overall": (Reason("low_overall", limit=0.25), "an overall score below --least-overall 0.25"),
    "no_better_on_mean": (
        Reason("no_better_on_mean", rival="small"),
        "small costs no more on the mean, and the lead over it is no more than noise",
    ),
    "on_chord": (Reason("on_chord"), "a coin that picks one of its stages does as well at this mean cost, up to noise"),
    "dominated_on_mean": (
        Reason("dominated_on_mean", rival="small>large"),
        "small>large costs no more on the mean and does no worse",
    ),
    "simpler": (
        Reason("simpler", rival="small>large"),
        "small>large is simpler, costs as much on the mean and does as well, up to noise",
    ),
}


def test_every_code_has_a_sentence_and_an_example_here():
    assert set(FACTS) == set(words._SENTENCES) == set(EVERY)


@pytest.mark.parametrize("code", EVERY)
def test_sentences(code: str):
    reason, text = EVERY[code]
    assert (reason.code, words.sentence(reason)) == (code, text)


def test_no_reason_says_nothing():
    assert words.sentence(None) == ""


@pytest.mark.parametrize("code", [code for code, facts in FACTS.items() if facts])
def test_a_reason_without_its_facts_is_refused(code: str):
    with pytest.raises(ValueError, match=f"{code} lacks {FACTS[code][0]}"):
        Reason(code)


def test_an_unknown_code_is_refused():
    with pytest.raises(ValueError, match="no reason has the code 'ugly'; codes are note, no_adapter"):
        Reason("ugly")


def test_cases_of_one_kind_count_as_one():
    far = [Reason("resolutions", sizes=((n, n), (1, 1))) for n in (4, 8)]
    assert far[0] != far[1]
    assert far[0].kind == far[1].kind
    assert words.sentence(far[0].kind) == "resolutions too far apart"
    over = [Reason("over_budget", excess=(Excess("macs<=1M", "macs", value),)) for value in (2e6, 3e6)]
    assert over[0].kind == over[1].kind
    assert words.sentence(over[0].kind) == "over the budget macs<=1M"
    assert Reason("dominated", rival="a").kind != Reason("dominated", rival="b").kind


# --- no code reads what is written for people --------------------------------------------------------


def spoken(node: ast.expr) -> bool:
    """Whether an expression holds words for people, or the name of a plan or point."""
    if isinstance(node, ast.Attribute) and node.attr == "name":
        return isinstance(node.value, ast.Name) and node.value.id in POINTS
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in ("words.sentence", "records.title")
    return name in SPOKEN


def readings(source: str) -> Iterator[str]:
    """Where a source splits, searches or matches a sentence or a name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            by_regex = isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
            read = node.args[1:2] if by_regex and node.func.attr in MATCHES else []
            read += [node.func.value] if node.func.attr in APART else []
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            text = isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
            read = node.comparators[:1] if text else []
        else:
            continue
        if any(spoken(part) for part in read):
            yield ast.unparse(node)


@pytest.mark.parametrize(
    "source",
    [
        "plan.reason.split(':')",
        "reason.startswith('over the budget')",
        "'enough' in reason",
        "point.name.split('.')",
        "re.fullmatch(r'L\\d', plan.name)",
        "words.sentence(plan.reason).partition(' ')",
        "records.title(plan, names).split(' + ')",
    ],
)
def test_the_search_finds_what_it_should(source: str):
    assert list(readings(source))


@pytest.mark.parametrize("source", ["text.split(',')", "path.name.split('.')", "re.match('a', line)", "'a' in names"])
def test_the_search_leaves_other_words_alone(source: str):
    assert not list(readings(source))


def test_no_code_reads_a_sentence_or_a_name():
    found = {str(path.relative_to(ROOT)): list(readings(path.read_text())) for path in FILES}
    assert len(found) > 100
    assert {path: places for path, places in found.items() if places} == {}
