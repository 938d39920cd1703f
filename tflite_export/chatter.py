"""Keep the prints of C++ libraries off the terminal, without losing them."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def captured() -> Iterator[Callable[[], str]]:
    """Send all that this process prints inside the block to a temporary file.

    Works on the file descriptors 1 and 2, since the converter's C++ writes past ``sys.stdout``;
    Python warnings are dropped. The value is a function that returns the text so far. Of the whole
    process: another thread's prints are taken too.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace", buffering=1) as sink:

        def text() -> str:
            sink.flush()
            size = os.fstat(sink.fileno()).st_size
            return os.pread(sink.fileno(), size, 0).decode("utf-8", "replace")

        saved = [(number, os.dup(number)) for number in (1, 2)]
        try:
            for number, _ in saved:
                os.dup2(sink.fileno(), number)
            with (
                contextlib.redirect_stdout(sink),
                contextlib.redirect_stderr(sink),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                yield text
        finally:
            sink.flush()
            for number, copy in saved:
                os.dup2(copy, number)
                os.close(copy)
