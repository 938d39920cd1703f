"""Makes the drawings of the page on concepts: ``python docs/pictures/drawings.py`` writes them beside itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SMALL, LARGE, STITCH, LINE, ABSENT = "#d9731a", "#1f5fa8", "#7b3fa0", "#555555", "#d5d9de"
Part = str


def block(x: int, y: int, colour: str, words: str = "", width: int = 58) -> Part:
    """A layer or a stretch of layers."""
    box = f'<rect x="{x}" y="{y}" width="{width}" height="34" rx="5" fill="{colour}"/>'
    return box + label(x + width // 2, y + 22, words, "#ffffff")


def label(x: int, y: int, words: str, colour: str = LINE, anchor: str = "middle") -> Part:
    """Words at a place."""
    return f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}">{words}</text>' if words else ""


def arrow(x1: int, y1: int, x2: int, y2: int, dashed: bool = False) -> Part:
    """From one place to another."""
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="M{x1} {y1} L{x2} {y2}" stroke="{LINE}" stroke-width="1.6"{dash} marker-end="url(#tip)"/>'


def chain(x: int, y: int, colours: Iterable[str], name: str = "") -> Part:
    """Blocks in a row, an arrow in front of each."""
    parts = [label(x - 8, y + 22, name, LINE, "end")]
    for at, colour in enumerate(colours):
        left = x + 82 * at
        parts += [arrow(left, y + 17, left + 20, y + 17), block(left + 24, y, colour)]
    return "".join(parts)


def drawing(width: int, height: int, *parts: Part) -> str:
    """A whole SVG on white, which dark pages need."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="13"><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4"'
        f' markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{LINE}"/></marker></defs>'
        f'<rect width="{width}" height="{height}" rx="10" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


CUT = drawing(
    600,
    130,
    chain(90, 48, [LARGE] * 5, "image"),
    arrow(500, 65, 530, 65),
    label(560, 70, "scores"),
    f'<path d="M339 20 L339 104" stroke="{STITCH}" stroke-width="2.5" stroke-dasharray="6 4"/>',
    label(339, 16, "cut L3", STITCH),
    label(220, 118, "front", STITCH),
    label(430, 118, "back", STITCH),
)
STITCHED = drawing(
    640,
    190,
    chain(70, 26, [LARGE, LARGE, LARGE], "large"),
    block(340, 26, ABSENT),
    block(422, 26, ABSENT),
    block(176, 126, ABSENT),
    label(86, 148, "small"),
    block(258, 126, SMALL),
    arrow(318, 143, 336, 143),
    block(340, 126, SMALL),
    arrow(400, 143, 440, 143),
    label(470, 148, "scores"),
    arrow(287, 62, 287, 74),
    block(249, 76, STITCH, "1x1 map", 76),
    arrow(287, 112, 287, 124),
    label(345, 98, "the stitch, which is trained", STITCH, "start"),
    label(500, 48, "grey does not run", LINE, "start"),
)
CASCADE = drawing(
    640,
    170,
    label(32, 52, "image"),
    arrow(58, 47, 88, 47),
    block(92, 30, SMALL, "small", 90),
    arrow(184, 47, 224, 47),
    f'<path d="M270 18 L314 47 L270 76 L226 47 z" fill="none" stroke="{LINE}" stroke-width="1.6"/>',
    label(270, 52, "sure?"),
    arrow(316, 47, 420, 47),
    label(378, 38, "yes: most"),
    label(476, 52, "small's scores", SMALL),
    arrow(270, 78, 270, 112),
    label(280, 100, "no: the rest", LINE, "start"),
    block(225, 116, LARGE, "large", 90),
    arrow(317, 133, 420, 133),
    label(476, 138, "large's scores", LARGE),
)
ELASTIC = drawing(
    640,
    190,
    f'<rect x="20" y="34" width="600" height="62" rx="8" fill="none" stroke="{LINE}"/>',
    label(320, 24, "elastic.int8.tflite: every weight once"),
    block(40, 48, SMALL, "small's weights", 170),
    block(226, 48, LARGE, "large's weights", 230),
    block(472, 48, STITCH, "stitches", 128),
    *(
        part
        for x, name in ((90, "small"), (236, "L3-S2"), (388, "small&gt;large"), (545, "large"))
        for part in (arrow(x, 142, x, 100), label(x, 160, name))
    ),
    label(320, 182, "signatures: image in, scores out"),
)
COLUMNS = (
    ("cli",),
    ("commands",),
    ("methods",),
    ("family",),
    ("work", "run"),
    ("fitting", "similarity"),
    ("stitches", "anchors"),
    ("graph", "data"),
)


def rooms() -> str:
    """The packages, each beside those that it may import."""
    parts = []
    for at, names in enumerate(COLUMNS):
        x = 14 + 108 * at
        parts += [
            block(x, (41 if len(names) == 1 else 20 + 42 * row), LARGE, name, 84) for row, name in enumerate(names)
        ]
        parts += [arrow(x + 86, 58, x + 106, 58)] if at + 1 < len(COLUMNS) else []
    below = ((338, 128, "cascades"), (446, 128, "points"), (554, 128, "tflite_export"), (446, 186, "report"))
    parts += [block(x, y, SMALL, name, 100 if name == "tflite_export" else 84) for x, y, name in below]
    return drawing(
        870,
        236,
        *parts,
        arrow(380, 77, 380, 126),
        arrow(424, 145, 444, 145),
        arrow(532, 145, 552, 145),
        arrow(488, 184, 488, 164),
    )


DRAWINGS = {"cut": CUT, "stitch": STITCHED, "cascade": CASCADE, "elastic": ELASTIC, "rooms": rooms()}


def main() -> None:
    """Write every drawing."""
    for name, text in DRAWINGS.items():
        Path(__file__).with_name(f"{name}.svg").write_text(text)


if __name__ == "__main__":
    main()
