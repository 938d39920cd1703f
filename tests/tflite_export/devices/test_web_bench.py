"""Latency from browsers: what the server gives to whom, what it takes, and a real browser that measures."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cascade_files
import needs
import npm
import numpy as np
import pytest
import segno
from chromium import Page
from web_family import begun, complaints

from tflite_export.devices import web, web_bench, web_modules, web_site, web_uploads
from tflite_export.devices.subjects import DeviceError, DeviceOptions, Findings, Subject
from tflite_export.devices.web_site import Receipt, RejectedError, Site
from tflite_export.devices.web_uploads import Upload
from tflite_export.errors import TfliteError
from tflite_export.float_ends import with_float_ends

SCORES = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
GOOD: dict[str, Any] = {
    "device": "pixel-7",
    "agent": "Mozilla/5.0",
    "accelerator": "wasm",
    "threads": 1,
    "clock_us": 100.0,
    "file": 0,
    "runs": 64,
    "repeats_us": [12.0, 10.0, 11.0],
    "scores": SCORES.tolist(),
}
SUBJECT = Subject("small", "int8", b"any")


def body(**changed: Any) -> bytes:
    return json.dumps(GOOD | changed).encode()


class Inbox:
    """What a site received, and what was kept behind the answer."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.kept = 0

    def receive(self, content: bytes) -> Receipt:
        if content == b"{}":
            raise RejectedError("this is no upload")
        self.bodies.append(content)
        return Receipt("it answers otherwise" if content == b"wrong" else "", self.keep)

    def keep(self) -> None:
        self.kept += 1


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def url(inbox: Inbox) -> Iterator[str]:
    """A site of two names that takes three uploads of 20 bytes."""
    site = Site({"": lambda: b"<p>page", "a.js": lambda: b"1"}, inbox.receive, upload_bytes=20, uploads=3)
    with web_site.served(site) as address:
        yield address


def ask(url: str, method: str, path: str, content: bytes = b"", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Status, content and headers of one request, its path as it stands."""
    there = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        there.putrequest(method, path, skip_accept_encoding=True)
        if content and "Content_Length" not in headers:
            headers["Content_Length"] = str(len(content))
        for name, value in headers.items():
            there.putheader(name.replace("_", "-"), value)
        there.endheaders(content or None)
        answer = there.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        there.close()


def below(url: str, name: str) -> str:
    return urlsplit(url).path + name


def test_the_token_opens_what_is_listed_and_nothing_else(url: str):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", url)
    status, content, headers = ask(url, "GET", below(url, ""))
    assert (status, content) == (200, b"<p>page")
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Server" not in headers
    assert ask(url, "GET", below(url, "a.js?x"))[:2] == (200, b"1")


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/a.js", "/wrong/", "/wrong/a.js", "//a.js"),
        *("/{token}", "/{token}x/", "/{token}/b.js", "/{token}/a.js/", "/{token}//etc/passwd"),
        *("/{token}/../a.js", "/{token}/../../../../etc/passwd", "/{token}/%2e%2e/%2e%2e/etc/passwd"),
    ],
)
def test_everything_else_is_an_empty_404(url: str, path: str):
    token = urlsplit(url).path.strip("/")
    status, content, headers = ask(url, "GET", path.replace("{token}", token))
    assert (status, content) == (404, b"")
    assert set(headers) <= {"Content-Length"}


def test_an_upload_is_kept_behind_its_answer(url: str, inbox: Inbox):
    path = below(url, "figures")
    assert ask(url, "POST", path, b"fine")[:2] == (204, b"")
    assert ask(url, "POST", path, b"wrong")[:2] == (422, b"it answers otherwise")
    assert ask(url, "POST", path, b"{}")[:2] == (400, b"this is no upload")
    assert inbox.bodies == [b"fine", b"wrong"]
    # All three have had their turn.
    assert ask(url, "POST", path, b"more")[:2] == (429, b"")
    assert inbox.kept == 2


def test_an_upload_is_bounded_and_needs_the_token(url: str, inbox: Inbox):
    path = below(url, "figures")
    assert ask(url, "POST", "/wrong/figures", b"fine")[:2] == (404, b"")
    assert ask(url, "POST", below(url, "a.js"), b"fine")[:2] == (404, b"")
    assert ask(url, "POST", path, Content_Length="21")[:2] == (413, b"")
    assert ask(url, "POST", path, Content_Length="9" * 40)[:2] == (413, b"")
    assert ask(url, "POST", path, Content_Length="-1")[:2] == (411, b"")
    assert ask(url, "POST", path)[:2] == (411, b"")
    assert ask(url, "DELETE", path)[:2] == (501, b"")
    assert inbox.bodies == []


def test_a_browser_that_goes_away_leaves_no_word(inbox: Inbox, capfd: pytest.CaptureFixture[str]):
    """Of a file that is far larger than what the system holds back for it."""
    site = Site({"": lambda: bytes(1 << 26)}, inbox.receive, upload_bytes=1, uploads=1)
    with web_site.served(site) as address:
        parts = urlsplit(address)
        with socket.create_connection((parts.hostname, parts.port)) as there:
            there.sendall(f"GET {parts.path} HTTP/1.1\r\n\r\n".encode())
            there.recv(1)
        assert ask(address, "GET", "/wrong/")[0] == 404
    assert capfd.readouterr().err == ""


def test_a_port_that_is_taken_is_told(url: str):
    port = urlsplit(url).port
    site = Site({}, Inbox().receive, 1, 1)
    with (
        pytest.raises(TfliteError, match=f"cannot serve a page at 127.0.0.1, port {port}"),
        web_site.served(site, port=port or 0),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not json", "no upload of the page"),
        (b"[" * 100_000, "no upload of the page"),
        (b"\xff\xfe", "no upload of the page"),
        (b"[]", "no upload of the page"),
        (body(device="../etc"), "small letters, digits and hyphens"),
        (body(device="x" * 32), "small letters, digits and hyphens"),
        (body(agent="a\x1b[31m"), "no text"),
        (body(agent="a" * 401), "too long"),
        (body(accelerator="npu"), "no such file"),
        (body(file=1), "no such file"),
        (body(file=-1), "no such file"),
        (body(threads=0), "no such file"),
        (body(clock_us=0), "The clock has no step"),
        (body(repeats_us=[1.0, 2.0]), "3 times above 0"),
        (body(repeats_us=[1.0, 2.0, 0]), "3 times above 0"),
        (body(repeats_us=[1.0, 2.0, float("nan")]), "3 times above 0"),
        (body(repeats_us="abc"), "repeats_us"),
        (body(runs=0), "no runs"),
        (body(extra=1), "extra"),
    ],
)
def test_what_is_no_upload_is_rejected(content: bytes, words: str):
    with pytest.raises(RejectedError, match=words):
        web_uploads.read(content, files=1, repeats=3)


def judged(**changed: Any) -> Findings:
    upload: Upload = web_uploads.read(body(**changed), files=1, repeats=3)
    return web_uploads.figures(SUBJECT, upload, SCORES, "LiteRT.js 2.5.3")


def test_figures_are_those_of_the_named_device():
    (latency,) = judged().measurements
    assert (latency.device, latency.point, latency.precision) == ("web:pixel-7", "small", "int8")
    assert (latency.value, latency.repeats, latency.kind) == (11.0, (12.0, 10.0, 11.0), "device")
    assert latency.tool == "LiteRT.js 2.5.3 (wasm, 1 thread), Mozilla/5.0, clock of 100 us"
    (graphics,) = judged(accelerator="webgpu", threads=2).measurements
    assert graphics.device == "web:pixel-7-webgpu"
    assert "(webgpu, 2 threads)" in graphics.tool


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"scores": [[0.1, 0.9], [0.2, 0.8]]}, "answers otherwise than this host, by 0.8"),
        ({"scores": [[0.9, 0.1]]}, "answers otherwise"),
        ({"scores": [[0.9, 0.1], [0.2]]}, "answers otherwise"),
        ({"scores": [[0.9, 0.1], [0.2, float("nan")]]}, "answers otherwise"),
        ({"error": "out of\nmemory", "scores": [], "repeats_us": []}, "could not run it: out of memory"),
    ],
)
def test_other_scores_and_failures_are_not_kept(changed: dict[str, Any], words: str):
    with pytest.raises(TfliteError, match=words):
        judged(**changed)
    assert judged(scores=(SCORES + 0.01).tolist()).measurements


def test_without_litert_js_the_command_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "restnet-tf" / "litert-js"
    with pytest.raises(DeviceError, match=re.escape(f"npm install --prefix {folder} @litertjs/core@")):
        list(web.DEVICE.measure([SUBJECT], DeviceOptions()))
    assert not folder.exists()
    (folder / "node_modules" / "@litertjs" / "core").mkdir(parents=True)
    (folder / "node_modules" / "@litertjs" / "core" / "package.json").write_text('{"version": "2.5.3"}')
    with pytest.raises(DeviceError, match="not here"):
        web_modules.opened()


def test_a_qr_code_shows_the_address_light_on_dark():
    text = "http://192.0.2.7:8000/abcdefghijklmnopqrstuv/"
    cells = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}
    lines = web_bench.qr(text).splitlines()
    rows = [[cells[block][half] for block in line] for line in lines for half in (0, 1)]
    symbol = [list(row) for row in segno.make(text, error="m", micro=False).matrix_iter(border=2)]
    assert rows[: len(symbol)] == symbol
    assert not any(map(any, rows[len(symbol) :]))


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteRT.js where the tests have it."""
    place = npm.folder(web_modules.REQUIREMENT)
    monkeypatch.setattr(web_modules, "folder", lambda: place)


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    """A network and a cascade, which answers at its first stage for some examples and at its second for others."""
    dial = cascade_files.dial("small>large", "int8")
    return [
        Subject("small", "float32", cascade_files.stage("small", "float32")),
        Subject("small>large", "int8", cascade_files.cascade("small>large", "int8", dial)),
    ]


def pressed(page: Page, name: str) -> str:
    """What the page says behind a measurement as the device of a name."""
    begun(page)
    page.evaluate(f'document.getElementById("name").value = "{name}"')
    page.evaluate('document.getElementById("measure").click()')
    page.evaluate("measured")
    return str(page.evaluate('document.getElementById("state").textContent'))


@pytest.mark.slow
@needs.BROWSER.mark
def test_a_browser_measures_every_file(modules: None, subjects: list[Subject]):
    shapes: list[tuple[int, ...]] = []

    def examples(shape: tuple[int, ...], n: int) -> np.ndarray:
        shapes.append(shape)
        return cascade_files.PIXELS[:n]

    findings = web.DEVICE.measure(subjects, DeviceOptions(repeats=3, examples=examples, wait=60))
    (note,) = next(findings).notes
    url = re.search(r"http://127\.0\.0\.1:\d+/\S+/", note)
    assert url
    with Page(url[0]) as page:
        assert pressed(page, "Not A Name!").startswith("The name of a device has small letters")
        page.load()
        assert pressed(page, "my-browser") == "Done. You may close this page."
        assert [u for u in page.asked if not u.startswith((url[0], "data:"))] == []
        assert not [line for line in complaints(page) if "400" not in line]
    first, second = findings
    for subject, one in zip(subjects, (first, second), strict=True):
        (latency,) = one.measurements
        assert (latency.device, latency.sha256) == ("web:my-browser", subject.sha256)
        assert len(latency.repeats) == 3
        assert 0 < latency.value < 1e6
        assert re.search(r"LiteRT\.js 2\.\d+\.\d+ \(wasm, 1 thread\), Mozilla.*, clock of", latency.tool)
    assert first.measurements[0].tool == second.measurements[0].tool
    assert shapes == [(8, 8, 3)] * 2


@pytest.mark.slow
@needs.BROWSER.mark
def test_a_browser_with_another_file_is_refused(
    modules: None, subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
):
    """The page is given another network's file under this one's name."""
    other = with_float_ends(cascade_files.stage("large", "float32"))
    monkeypatch.setattr(web_bench, "with_float_ends", lambda content: other)
    findings = web.DEVICE.measure(subjects[:1], DeviceOptions(repeats=1, wait=60))
    (note,) = next(findings).notes
    with Page(note.split()[1]) as page:
        pressed(page, "my-browser")
    (one,) = findings
    assert one.measurements == ()
    assert "small.float32: web:my-browser answers otherwise than this host" in one.failures[0]


@pytest.mark.slow
def test_no_browser_is_a_failure_that_says_what_to_do(modules: None, subjects: list[Subject]):
    _, quiet = web.DEVICE.measure(subjects[:1], DeviceOptions(wait=1))
    assert quiet.failures == (
        "nothing came for 1 seconds (no browser has measured); open the page and press Measure, or give --wait",
    )


@pytest.mark.slow
def test_lan_serves_this_machine_s_address(modules: None, subjects: list[Subject], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(web_site, "lan_address", lambda: "127.0.0.1")
    code, url, where = next(web.DEVICE.measure(subjects[:1], DeviceOptions(lan=True, wait=1))).notes
    assert code == web_bench.qr(url)
    assert "any device of this network" in where
