"""Latency in browsers: a page that runs every file there and sends the figures back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, Queue

import numpy as np

from tflite_export import cascades
from tflite_export.devices import captures, host, web_modules, web_site, web_uploads
from tflite_export.devices.subjects import DeviceOptions, Findings, Subject, opened, smooth_images, tried
from tflite_export.devices.web_modules import Modules
from tflite_export.devices.web_site import Receipt, Site
from tflite_export.float_ends import with_float_ends
from tflite_export.precision import INPUT_KEY

PAGE = captures.HARNESS / "web"
_FILES = ("page.css", "bench.js", "clock.js", "litert.js")
_EXAMPLES = 4
_WARMUPS = 10
# An upload: so many bytes a number as JSON has it, beside what else is in it; so many of each file.
_NUMBER_BYTES, _OTHER_BYTES = 32, 4096
_UPLOADS = 32


@dataclass(frozen=True)
class BrowserFile:
    """A file as browsers run it, example inputs ``(n, h, w, c)`` or ``(n, t, c)``, and the host's scores of them."""

    subject: Subject
    content: bytes
    signature: str
    thresholds: tuple[float, ...]
    inputs: np.ndarray
    scores: np.ndarray


# Of a browser: what it is called, the place of a file, and what was found.
Told = tuple[str, int, Findings]


def measure(subjects: Sequence[Subject], options: DeviceOptions) -> Iterator[Findings]:
    """Latency of every file in the browsers that open the page served here; of a cascade, where all stages run.

    The first findings are a note with the address. It ends when ``options.browsers`` of them have sent all, and when
    none has sent anything for ``options.wait`` seconds. Raises ``TfliteError`` without LiteRT.js, and without a network
    where ``options.lan`` asks for one.
    """
    modules = web_modules.opened()
    address = web_site.lan_address() if options.lan else web_site.LOOPBACK
    files: list[BrowserFile] = []

    def prepare(subject: Subject) -> Findings:
        files.append(_file(subject, options))
        return Findings()

    prepared = [tried(subject, prepare) for subject in subjects]
    yield from (findings for findings in prepared if findings.failures)
    if not files:
        return
    told: Queue[Told] = Queue()
    contents = _contents(files, modules, options.repeats)
    numbers = max(file.scores.size for file in files) + options.repeats
    receive = partial(_received, files, options.repeats, f"LiteRT.js {modules.version}", told)
    site = Site(contents, receive, _OTHER_BYTES + _NUMBER_BYTES * numbers, _UPLOADS * len(files))
    with web_site.served(site, address, options.port) as url:
        yield Findings(notes=_invitation(url, options.lan))
        yield from _heard(told, len(files), options)


def _heard(told: Queue[Told], files: int, options: DeviceOptions) -> Iterator[Findings]:
    done: dict[str, set[int]] = {}
    while sum(len(places) == files for places in done.values()) < options.browsers:
        try:
            name, place, findings = told.get(timeout=options.wait)
        except Empty:
            heard = ", ".join(f"{name} sent {len(places)} of {files} files" for name, places in done.items())
            quiet = f"nothing came for {options.wait} seconds ({heard or 'no browser has measured'})"
            yield Findings(failures=(f"{quiet}; open the page and press Measure, or give --wait",))
            return
        done.setdefault(name, set()).add(place)
        yield findings


def _file(subject: Subject, options: DeviceOptions) -> BrowserFile:
    entry = opened(subject).signatures[0]
    shape = entry.inputs[INPUT_KEY].shape[1:]
    inputs = _examples(shape, subject, options)
    thresholds = cascades.thresholds(subject.content) if cascades.is_cascade(entry) else ()
    scores = host.scores(subject.content, [inputs], threads=1)
    return BrowserFile(subject, with_float_ends(subject.content), entry.key, thresholds, inputs, scores)


def _examples(shape: tuple[int, ...], subject: Subject, options: DeviceOptions) -> np.ndarray:
    if options.examples is None:
        return smooth_images(shape, _EXAMPLES, kind=subject.kind)
    return np.asarray(options.examples(shape, _EXAMPLES), np.float32)


def _contents(files: Sequence[BrowserFile], modules: Modules, repeats: int) -> Mapping[str, Callable[[], bytes]]:
    """All that is served, by name."""
    about = {
        "version": modules.version,
        "repeats": repeats,
        "warmups": _WARMUPS,
        "files": [_about(file) for file in files],
    }
    own: dict[str, bytes] = {"": (PAGE / "bench.html").read_bytes(), "bench.json": json.dumps(about).encode()}
    own |= {name: (PAGE / name).read_bytes() for name in _FILES}
    for place, file in enumerate(files):
        own[f"{place}.tflite"] = file.content
        own[f"{place}.inputs"] = file.inputs.astype("<f4").tobytes()
    return {f"modules/{name}": content for name, content in modules.contents.items()} | {
        name: partial(bytes, content) for name, content in own.items()
    }


def _about(file: BrowserFile) -> dict[str, object]:
    return {
        "name": f"{file.subject.point} {file.subject.precision}",
        "signature": file.signature,
        "shape": file.inputs.shape[1:],
        "examples": len(file.inputs),
        "thresholds": file.thresholds,
    }


def _received(files: Sequence[BrowserFile], repeats: int, runtime: str, told: Queue[Told], body: bytes) -> Receipt:
    """An upload, judged; raises ``RejectedError`` for what is none."""
    upload = web_uploads.read(body, len(files), repeats)
    file = files[upload.file]
    findings = tried(file.subject, partial(web_uploads.figures, upload=upload, scores=file.scores, runtime=runtime))
    # The page shows it beside the file's name.
    wrong = findings.failures[0].removeprefix(f"{file.subject.name}: {upload.name} ") if findings.failures else ""
    return Receipt(wrong, partial(told.put, (upload.name, upload.file, findings)))


def _invitation(url: str, lan: bool) -> tuple[str, ...]:
    """What to open; for a phone, what to point its camera at too."""
    if not lan:
        return (f"open {url} in a browser of this machine and press Measure (--lan: in any browser of this network)",)
    where = "open it on any device of this network and press Measure; who has not this address gets nothing"
    return (qr(url), url, where)


def qr(text: str) -> str:
    """A QR code of half-height blocks, light on dark as terminals are; two cells of margin."""
    import segno

    rows = [list(map(bool, row)) for row in segno.make(text, error="m", micro=False).matrix_iter(border=2)]
    rows += [[False] * len(rows[0])] * (len(rows) % 2)
    blocks = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return "\n".join("".join(blocks[pair] for pair in zip(upper, lower, strict=True)) for upper, lower in pairs)
