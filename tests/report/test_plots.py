"""The pictures: whole PNG files, equal bytes for equal figures, and what is drawn changes them."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from measured_points import cascade
from PIL import Image

from restnet_tf.points.points import ANCHOR, CONTROL, DOMINATED, STITCHED, File, OperatingPoint, Score
from restnet_tf.report import plots


def scored(n: int, right: int, kl: float | None = None) -> Score:
    """The first ``right`` of n images are right."""
    return Score.of(np.arange(n) < right, kl)


FILE = File("f", "0" * 64, 1000, 500, scored(9, 5), scored(9, 5), 1500.0, 1600.0, (1500.0,), 1, "LiteRT 2.3")


def point(name: str, macs: int, right: int, kind: str = STITCHED, **more: object) -> OperatingPoint:
    score = scored(100, right, 0.1)
    return replace(OperatingPoint(name, kind, "r", macs, 1, score, score, files={"float32": FILE}), **more)


POINTS = (
    point("small", 10_000_000, 60, ANCHOR),
    point("large", 90_000_000, 90, ANCHOR),
    point("L1-S2", 50_000_000, 80),
    point("L2-S2", 60_000_000, 70, status=DOMINATED),
    point("random", 50_000_000, 20, CONTROL, files={}),
)


def size(png: bytes) -> tuple[int, int]:
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == "PNG"
    assert np.asarray(image.convert("L")).std() > 5  # something is drawn
    return image.size


def drawn(points: tuple[OperatingPoint, ...] = POINTS) -> bytes:
    return plots.operating_points(points, "title", "accuracy")


@pytest.fixture(scope="module")
def usual() -> bytes:
    """Of the points as they are; a picture takes a third of a second."""
    return drawn()


def test_operating_points(usual):
    assert size(usual) == (1430, 572)
    assert usual == drawn()


def test_by_macs_takes_no_latency():
    def alone(points: tuple[OperatingPoint, ...]) -> bytes:
        return plots.by_macs(points, "title", "accuracy")

    png = alone(POINTS)
    assert size(png) == (902, 506)
    assert png == alone(tuple(replace(p, files={}) for p in POINTS))
    assert png != alone((*POINTS[:2], replace(POINTS[2], macs=40_000_000), *POINTS[3:]))


@pytest.mark.parametrize(
    "other",
    [
        POINTS[:3],
        POINTS[:2],
        (*POINTS[:2], replace(POINTS[2], test=scored(100, 85, 0.1)), *POINTS[3:]),
        (*POINTS[:2], replace(POINTS[2], macs=40_000_000), *POINTS[3:]),
        tuple(replace(p, files={}) for p in POINTS),
    ],
    ids=["no control", "anchors alone", "accuracy", "macs", "nothing timed"],
)
def test_what_is_given_is_what_is_drawn(usual, other):
    png = drawn(other)
    size(png)
    assert png != usual


def test_of_many_networks_far_below_the_scores_alone_are_told():
    def below(name: str, worst: int) -> bytes:
        twins = (point(f"{name}{i}", 50_000_000, worst + i, CONTROL, files={}) for i in range(6))
        return drawn((*POINTS[:4], *twins))

    png = below("random", 10)
    assert size(png) == (1430, 572)
    assert png == below("a-very-long-name-of-a-twin-that-no-line-has-room-for", 10)
    assert png != below("random", 12)


SMALL, LARGE = POINTS[:2]


@pytest.mark.parametrize("count", [1, 4])
def test_cascades_are_drawn_along_their_dials(count):
    joined = tuple(
        replace(cascade(SMALL, LARGE, (0.25, 0.5)), name=f"small>large{i}", macs=100_000_000 + i) for i in range(count)
    )
    png = drawn((*POINTS, *joined))
    assert size(png) == (1430, 572)
    own = joined[0].cascade
    others = [
        replace(own, curve=own.curve[::2]),
        replace(own, notches=own.notches[1:]),
        replace(own, macs=(20_000_000, 90_000_000)),
    ]
    changed = [replace(joined[0], cascade=other) for other in others]
    changed += [replace(joined[0], macs=150_000_000), replace(joined[0], files={})]
    assert len({png, *(drawn((*POINTS, one, *joined[1:])) for one in changed)}) == 1 + len(changed)
    assert drawn((*POINTS, replace(joined[0], status=DOMINATED, files={}))) != png


def test_each_of_four_cascades_is_drawn():
    one = cascade(SMALL, LARGE, (0.25, 0.5))
    four = tuple(replace(one, name=f"small>large{i}", macs=100_000_000 + i) for i in range(4))
    thinner = replace(four[3], cascade=replace(four[3].cascade, curve=four[3].cascade.curve[::2]))
    pictures = {
        plots.by_macs((SMALL, LARGE, *some), "title", "accuracy") for some in (four, four[:3], (*four[:3], thinner))
    }
    assert len(pictures) == 3


def test_a_legend_of_long_names_makes_the_picture_higher() -> None:
    one, name = cascade(SMALL, LARGE, (0.25, 0.5)), "L2-L3-L4-L6-L8-L9-L10-L13-L14-L17-L25-L27"
    long = (replace(one, name=f"{name}>{number}") for number in range(3))
    width, height = size(plots.by_macs((*POINTS, *long), "title", "accuracy"))
    assert width == 902
    assert height > 506


def test_a_curve_leads_through_what_was_chosen_on_it():
    point = cascade(SMALL, LARGE, (0.25, 0.5))
    own = point.cascade
    bare = tuple(s for s in own.curve if s.thresholds not in {n.thresholds for n in own.notches})
    full = (*bare, *own.notches)
    assert own.notches
    assert drawn((*POINTS, replace(point, cascade=replace(own, curve=bare)))) == drawn(
        (*POINTS, replace(point, cascade=replace(own, curve=full)))
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_a_strip_of_examples_goes_from_sure_to_unsure(channels):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, channels), np.uint8)
    sure = np.linspace(1, 0.1, 40)
    strip = plots.examples(images, sure, 0.5)
    size(strip)
    assert strip == plots.examples(images[::-1], sure[::-1], 0.5)  # whatever order they come in
    assert len({strip, *(plots.examples(images, sure, t) for t in (0.0, 0.9, 1.1))}) == 4
    assert size(plots.examples(images, sure, 0.5, size=6))[0] < size(strip)[0]
    size(plots.examples(images[:1], sure[:1], 0.5))


def test_heat_map():
    matrix = np.linspace(0, 1, 12).reshape(3, 4)
    rows, columns = ["a", "b", "c"], ["w", "x", "y", "z"]
    plain = plots.heat_map(matrix, rows, columns, "similarity")
    marked = plots.heat_map(matrix, rows, columns, "similarity", [(0, 1, "o"), (2, 3, "^")])
    assert size(plain) == size(marked)
    assert plain == plots.heat_map(matrix, rows, columns, "similarity")
    assert len({plain, marked, plots.heat_map(matrix[::-1], rows, columns, "similarity")}) == 3


def test_heat_map_of_many_cuts_and_of_values_outside_the_scale():
    matrix = np.full((40, 30), np.nan)
    matrix[0], matrix[1] = -0.1, 1.0
    width, height = size(plots.heat_map(matrix, [f"r{i}" for i in range(40)], [f"c{i}" for i in range(30)], "t"))
    assert width > 1000
    assert height > 1000


def test_no_date_and_no_software_in_the_file(usual):
    assert b"tIME" not in usual
    assert b"Software" not in usual
    assert b"matplotlib" not in usual.lower()


@pytest.mark.parametrize("shape", [(16, 2), (16, 12), (7, 5, 1)], ids=["lines", "many channels", "grid"])
def test_values_that_are_no_photos_are_drawn_too(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(0, 50, (4, *shape)).astype(np.float32)
    sure = np.linspace(0, 1, 4)
    strip = plots.examples(values, sure, 0.5)
    assert size(strip)[0] > 100
    assert strip != plots.examples(values[::-1].copy(), sure, 0.5)
    assert strip == plots.examples(values * 1.0, sure, 0.5)
