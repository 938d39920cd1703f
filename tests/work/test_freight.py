"""What travels to a machine without the build's disk: what it lacks, in pieces, and over nobody's files."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from restnet_tf.records import RestnetError
from restnet_tf.work import freight
from restnet_tf.work.freight import CHUNK, Freight


def placed(folder: Path, **files: bytes) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def test_small_files_go_together_and_large_ones_in_chunks(tmp_path) -> None:
    placed(tmp_path / "data", a=b"1", b=b"22", c=b"x" * (2 * CHUNK + 1), d=b"")
    load = Freight(tmp_path / "run", [tmp_path / "data"])
    lots = list(freight.chunks(load.due("there")))
    assert [[(one.ware.path.name, one.at, len(one.content)) for one in lot] for lot in lots] == [
        [("a", 0, 1), ("b", 0, 2)],
        [("c", 0, CHUNK)],
        [("c", CHUNK, CHUNK)],
        [("c", 2 * CHUNK, 1), ("d", 0, 0)],
    ]


def test_what_was_sent_is_whole_there_and_is_sent_once(tmp_path) -> None:
    run, data = tmp_path / "run", tmp_path / "data"
    placed(run, points=b"7", c=b"xy" * CHUNK)
    placed(data, photo=b"p")
    load = Freight(run, [data])
    due = load.due("there")
    lots = list(freight.chunks(due))
    shutil.rmtree(run)  # from here on this is the other machine
    shutil.rmtree(data)
    assert freight.lacking(run, due) == freight.Lacking(tuple(due))
    for lot in lots[:-1]:
        freight.put(lot)
    assert not (data / "photo").exists()  # it comes with the last lot
    freight.put(lots[-1])
    assert (run / "c").read_bytes() == b"xy" * CHUNK
    assert (data / "photo").read_bytes() == b"p"
    assert freight.lacking(run, due) == freight.Lacking(())
    load.arrived("there", due)
    assert load.due("there") == []
    placed(run, points=b"8")
    changed = load.due("there")
    placed(run, points=b"7")  # on the other machine
    assert [ware.path.name for ware in freight.lacking(run, changed).wares] == ["points"]
    freight.clear(run)
    assert not run.exists()
    assert (data / "photo").exists()


def test_commands_that_send_the_same_file_at_once_leave_it_whole(tmp_path) -> None:
    data = tmp_path / "data"
    placed(data, photos=b"xyz" * CHUNK)
    lots = list(freight.chunks(Freight(tmp_path / "run", [data]).due("there")))
    shutil.rmtree(data)
    for lot in (lots[0], lots[1], lots[0], lots[2], lots[1], lots[2]):  # the second began when the first was half done
        freight.put(lot)
    assert {path.name: path.read_bytes() for path in data.iterdir()} == {"photos": b"xyz" * CHUNK}
    (data / "photos").unlink()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: [freight.put(lot) for lot in lots], range(3)))
    assert {path.name: path.read_bytes() for path in data.iterdir()} == {"photos": b"xyz" * CHUNK}


def test_a_file_that_changes_while_it_is_sent_is_not_taken_for_whole(tmp_path) -> None:
    data = tmp_path / "data"
    placed(data, photo=b"pq")
    (lot,) = freight.chunks(Freight(tmp_path / "run", [data]).due("there"))
    shutil.rmtree(data)
    with pytest.raises(RestnetError, match="photo was changed while it was sent; run the same command again"):
        freight.put([replace(lot[0], content=b"pr")])
    assert not list(data.iterdir())


def test_nobodys_files_are_written_over_or_deleted(tmp_path) -> None:
    run, data = tmp_path / "run", tmp_path / "data"
    placed(run, points=b"7")
    placed(data, photo=b"p")
    due = Freight(run, [data]).due("there")
    placed(data, photo=b"q")
    assert freight.lacking(tmp_path / "new", due).foreign == data / "photo"
    placed(run, points=b"8")
    assert freight.lacking(run, due).foreign == run / "points"  # this run was not sent here
    freight.clear(run)
    assert (run / "points").read_bytes() == b"8"
