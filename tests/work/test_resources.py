"""What this machine gives: cores by what a container has time of, and the memory of processes."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from restnet_tf.work import resources


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "200000 100000\n"}, 2.0),
        ({"cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_a_container_has_as_many_cores_as_it_has_time_of(
    tmp_path: Path, files: dict[str, str], cores: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert resources.quota(tmp_path) == cores


def test_there_is_a_core_even_of_half_a_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_GROUPS", tmp_path)
    assert resources.cores() >= 1
    (tmp_path / "cpu.max").write_text("50000 100000")
    assert resources.cores() == 1


def test_the_memory_of_this_process_is_some_and_that_of_none_is_none() -> None:
    assert resources.peak() >= resources.held(os.getpid()) / 2 > 1e6
    before = resources.held(os.getpid())
    # Its own mapping: what the heap gives may have been this process's already.
    with mmap.mmap(-1, 50_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as own:
        own.write(b"x" * len(own))
        assert 45e6 < resources.held(os.getpid()) - before < 60e6
    assert resources.held(2**22 + 1) == 0  # beyond the numbers of processes


def test_pages_of_a_mapped_file_are_not_memory_of_a_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 50_000_000)
    before = resources.held(os.getpid())
    with (tmp_path / "file").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        assert sum(pages[at] for at in range(0, len(pages), 4096)) > 0  # all are there
        assert resources.held(os.getpid()) - before < 5e6


def test_workers_that_run_these_tests_have_no_more_threads_than_cores() -> None:
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        assert workers * int(os.environ[name]) <= max(workers, len(os.sched_getaffinity(0))), name
