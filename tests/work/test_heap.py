"""What glibc is asked for is done, in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
if sys.argv[1] == "kept":
    from restnet_tf.work import heap
    assert heap.keep_freed()
def touch():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b'x' * (64 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
touch()
print(touch())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is asked")
def test_freed_memory_is_used_again_without_page_faults():
    faults = {}
    for mode in ("as it is", "kept"):
        run = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True)
        faults[mode] = int(run.stdout)
    assert faults["kept"] < 100
    assert faults["as it is"] > 10 * faults["kept"] + 1000
