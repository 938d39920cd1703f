"""Files are whole or not there; and what a worker writes over others waits until somebody takes it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from restnet_tf import atomic
from restnet_tf.records import RestnetError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_held_stays_out_of_the_way_of_what_is_there(tmp_path) -> None:
    path = tmp_path / "fit.npz"
    path.write_bytes(b"earlier")
    with atomic.held() as files:
        atomic.write_bytes(path, b"later")
        assert path.read_bytes() == b"earlier"
    (one,) = files
    one.release()
    assert path.read_bytes() == b"later"
    with atomic.held() as files:
        atomic.write_bytes(path, b"too late")
    files[0].drop()
    assert (path.read_bytes(), names(tmp_path)) == (b"later", ["fit.npz"])


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_can_be_read_by_what_wrote_it(tmp_path, monkeypatch, links) -> None:
    if not links:
        monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "object.tflite"
    with atomic.held() as files:
        atomic.write_bytes(path, b"new")
        assert path.read_bytes() == b"new"
    files[0].drop()  # it has its name: nobody else wrote it
    files[0].release()
    assert (path.read_bytes(), names(tmp_path)) == (b"new", ["object.tflite"])


def refused(*_: object) -> None:
    raise OSError(errno.EPERM, "this disk has no links")


def test_behind_an_error_nothing_waits(tmp_path) -> None:
    path = tmp_path / "fit.npz"
    path.write_bytes(b"earlier")

    def fail() -> None:
        with atomic.held():
            atomic.write_bytes(path, b"later")
            raise RestnetError("no")

    with pytest.raises(RestnetError):
        fail()
    assert names(tmp_path) == ["fit.npz"]
    atomic.write_bytes(path, b"after it")  # and is not held
    assert path.read_bytes() == b"after it"
