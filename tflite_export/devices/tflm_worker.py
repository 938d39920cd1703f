"""The process that runs files in TensorFlow Lite Micro: each in a fork of it, which the file may end.

So the wheel is loaded once for all files. Jobs come on its input and endings leave on its output, as ``send`` writes
them; when the input ends, so does the process, with the fork that runs. Nothing of the project is imported.
"""

from __future__ import annotations

import io
import os
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import IO, Any, NoReturn

import numpy as np

_BYTES = 8  # of a length


def send(stream: IO[bytes], *parts: bytes) -> None:
    """Write parts, each behind its length; raises BrokenPipeError where nobody reads any more."""
    for part in parts:
        stream.write(len(part).to_bytes(_BYTES, "little"))
        stream.write(part)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes:
    """The next part; raises EOFError where the stream ends before it does."""
    size = int.from_bytes(_exactly(stream, _BYTES), "little")
    return _exactly(stream, size)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    part = stream.read(size)
    if len(part) < size:
        raise EOFError
    return part


def packed(content: bytes, arena: int, ends: int, images: np.ndarray, settings: Sequence[np.ndarray]) -> bytes:
    """A job: the file, bytes of its arena, its outputs' count, images ``(n, ...)``, further inputs of each setting.

    Without images the interpreter is made and no more.
    """
    held = io.BytesIO()
    numbers, model = [arena, ends, len(settings)], np.frombuffer(content, np.uint8)
    arrays: dict[str, Any] = {f"setting_{number}": values for number, values in enumerate(settings)}
    np.savez(held, content=model, numbers=numbers, images=images, **arrays)
    return held.getvalue()


def main(jobs: IO[bytes], endings: IO[bytes]) -> None:
    """Answer each job by its fork's exit code (of a signal: negative), outputs as .npz, and all that it printed."""
    from tflite_micro.python.tflite_micro import runtime

    while True:
        try:
            job = _unpacked(receive(jobs))
        except EOFError:
            return
        code, outputs, told = _forked(partial(_outputs, runtime, *job))
        send(endings, str(code).encode(), outputs, told)


def _unpacked(job: bytes) -> tuple[bytes, int, int, np.ndarray, list[np.ndarray]]:
    with np.load(io.BytesIO(job)) as arrays:
        arena, ends, count = arrays["numbers"].tolist()
        settings = [arrays[f"setting_{number}"] for number in range(count)]
        return arrays["content"].tobytes(), arena, ends, arrays["images"], settings


def _forked(work: Callable[[], list[np.ndarray]]) -> tuple[int, bytes, bytes]:
    with tempfile.TemporaryFile() as outputs, tempfile.TemporaryFile() as told:
        alive, held = os.pipe()  # it ends with the fork, which holds the other end
        fork = os.fork()
        if not fork:
            _run(work, outputs, told)
        os.close(held)
        if alive not in select.select([alive, sys.stdin], [], [])[0]:
            os.kill(fork, signal.SIGKILL)  # no job comes before the last one is answered: the input has ended
        os.close(alive)
        code = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
        return code, _whole(outputs), _whole(told)


def _whole(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _run(work: Callable[[], list[np.ndarray]], outputs: IO[bytes], told: IO[bytes]) -> NoReturn:
    for descriptor in (1, 2):
        os.dup2(told.fileno(), descriptor)
    code = 1
    try:
        np.savez(outputs, *work())
        outputs.flush()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _outputs(
    runtime: Any, content: bytes, arena: int, ends: int, images: np.ndarray, settings: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Each output ``(settings * n, ...)``; what the arena holds is printed."""
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena)
    outputs = []
    for values in zip(*settings, strict=True) if settings else [()]:
        for one in images:
            interpreter.set_input(one[None], 0)
            for number, value in enumerate(values, start=1):
                interpreter.set_input(value, number)
            interpreter.invoke()
            outputs.append([interpreter.get_output(number)[0].copy() for number in range(ends)])
    interpreter.print_allocations()
    return [np.stack(one) for one in zip(*outputs, strict=True)]


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what the wheel prints is no answer
        main(sys.stdin.buffer, answers)
