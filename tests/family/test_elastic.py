"""What is left out of an elastic file that would be too large: the least gain for its bytes first, cascades with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from measured_points import cascade, point

from restnet_tf.family import elastic
from restnet_tf.points.points import ANCHOR
from restnet_tf.records import RestnetError

META = {"metric": "accuracy", "class_names": None}
OWN = {"small": 100, "large": 100, "A": 40, "B": 60, "C": 0}  # what each adds to the file


class Maker:
    """Joins files whose bytes are those of their points."""

    def elastic(self, names: Any, metadata: Any, chains: Any) -> bytes:
        self.chains = dict(chains)
        return bytes(sum(OWN[name] for name in names))


def member(name: str, macs: int, hits: int, kind: str = "stitched") -> Any:
    one = point(name, macs, hits, kind)
    return replace(one, files={"float32": replace(one.files["float32"], flash_bytes=100)})


MEMBERS = [
    member("small", 1_000_000, 120, ANCHOR),
    member("A", 2_000_000, 125),
    member("B", 3_000_000, 160),
    member("C", 4_000_000, 161),
    member("large", 9_000_000, 180, ANCHOR),
]


@pytest.mark.parametrize(
    ("most", "left_out"),
    [(None, ()), (1.5, ()), (1.3, ("A",)), (1.29, ("A", "B")), (1.0, ("A", "B"))],
)
def test_the_least_gain_for_its_bytes_goes_first(most: float | None, left_out: tuple[str, ...]) -> None:
    made = elastic.linked(Maker(), MEMBERS, "float32", META, most)  # type: ignore[arg-type]
    assert made.left_out == left_out
    assert made.content is not None
    assert len(made.content) == 300 - sum(OWN[name] for name in left_out)


def test_a_cascade_goes_with_its_stage_and_no_other() -> None:
    chains = [cascade(MEMBERS[1], MEMBERS[4]), cascade(MEMBERS[2], MEMBERS[4])]
    maker = Maker()
    made = elastic.linked(maker, [*MEMBERS, *chains], "float32", META, 1.3)  # type: ignore[arg-type]
    assert made.left_out == ("A", chains[0].name)
    assert list(maker.chains) == [chains[1].name]


@pytest.mark.parametrize(("text", "value"), [("", None), ("1.2x", 1.2), ("2", 2.0), ("1x", 1.0)])
def test_multiples_in_words(text: str, value: float | None) -> None:
    assert elastic.multiple(text) == value


@pytest.mark.parametrize("text", ["0.9x", "x", "twice", "inf", "nan"])
def test_what_is_no_multiple_is_refused(text: str) -> None:
    with pytest.raises(
        RestnetError, match=f"--max-elastic {text} is no multiple of the anchors' files; write one from"
    ):
        elastic.multiple(text)
