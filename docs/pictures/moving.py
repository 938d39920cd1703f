"""Makes the moving picture of a report: its dial is turned, then its budget. Chromium draws, without a window.

restnet-tf report runs/resnet56-resnet8
python docs/pictures/moving.py runs/resnet56-resnet8/report.html docs/pictures/report.gif
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
import chromium

WIDTH, HEIGHT = 1120, 900  # of the page, and of what is seen of it
STEP_MS, REST_MS = 220, 1500
COLOURS = 128
# Nothing but the plot, the dial and the budget.
ALONE = """
const other = "header, nav, main > section:not(#front), #plot-note, #budget > .note, #dial > .note:last-child";
for (const node of document.querySelectorAll(other)) node.style.display = "none";
"""
SLIDE = """(([id, share]) => {
  const input = document.getElementById(id);
  input.value = Math.round(Number(input.min) + share * (Number(input.max) - Number(input.min)));
  input.dispatchEvent(new Event("input", { bubbles: true }));
})(%s)"""


def moves() -> Iterator[tuple[str, float, int]]:
    """A slider, where it goes, and how long the picture rests there in ms."""
    for step in range(13):
        yield "dial-at", step / 12, REST_MS if step == 12 else STEP_MS
    for step in range(13):
        yield "limit-mean.macs", 1 - step / 13, REST_MS if step in (0, 6, 12) else STEP_MS


def frames(page: chromium.Page) -> Iterator[tuple[Image.Image, int]]:
    """What the page shows after each move."""
    page.evaluate(ALONE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.png"
        for name, share, rest in moves():
            page.evaluate(SLIDE % f'["{name}", {share}]')
            page.settle()
            page.screenshot(path)
            with Image.open(path) as whole:
                shown = whole.convert("RGB").crop((0, 0, WIDTH, HEIGHT))
            yield shown.resize((WIDTH * 3 // 4, HEIGHT * 3 // 4), Image.Resampling.LANCZOS), rest


def main(report: str, picture: str) -> None:
    """Write the GIF."""
    with chromium.Page(Path(report), width=WIDTH, height=HEIGHT) as page:
        shown, rests = zip(*frames(page), strict=True)
    # An octree keeps the few pixels of a mark's own colour, where a median cut spends all on greys.
    drawn = [image.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE) for image in shown]
    drawn[0].save(picture, save_all=True, append_images=drawn[1:], duration=list(rests), loop=0, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
