"""What page faults cost TensorFlow: ``python -m benchmarks.heap [--model EfficientNetB4] [--batch 64]``.

Runs one network over batches of 224x224 images in fresh processes, in turns with the C library's own
settings and with ``restnet_tf.work.heap``'s, and prints images a second of both, their ratio, and peak memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median

from tflite_export.chatter import captured

_MODES = ("as it is", "kept")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="EfficientNetB4", help="a name of Keras Applications")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--mode", choices=_MODES, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.mode:
        print(*_timed(args.mode, args.model, args.batch, args.images))
        return
    command = [sys.executable, "-m", "benchmarks.heap", "--model", args.model]
    command += ["--batch", str(args.batch), "--images", str(args.images), "--mode"]
    rates: dict[str, list[float]] = {mode: [] for mode in _MODES}
    peaks: dict[str, list[float]] = {mode: [] for mode in _MODES}
    for _ in range(args.repeats):
        for mode in _MODES:
            process = subprocess.run([*command, mode], stdout=subprocess.PIPE, encoding="utf-8", check=True)
            rate, peak = map(float, process.stdout.split())
            rates[mode].append(rate)
            peaks[mode].append(peak)
    for mode in _MODES:
        print(f"{args.model}, freed memory {mode}: {median(rates[mode]):.1f} images/s, peak {max(peaks[mode]):.0f} MB")
    print(f"kept is {median(rates['kept']) / median(rates['as it is']):.2f} times as fast (medians of {args.repeats})")


def _timed(mode: str, name: str, batch: int, images: int) -> tuple[float, float]:
    """Images a second, and the process's peak memory in MB."""
    from restnet_tf.work import heap

    if mode == "kept" and not heap.keep_freed():
        raise SystemExit("this C library's allocator cannot be asked to keep what is freed")
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with captured():
        import keras
        import numpy as np
        import tensorflow as tf

    model = getattr(keras.applications, name)(weights=None, input_shape=(224, 224, 3))
    run = tf.function(lambda x: model(x, training=False), autograph=False)
    x = tf.constant(np.random.default_rng(0).uniform(0, 255, (batch, 224, 224, 3)).astype(np.float32))
    run(x)
    start = time.perf_counter()
    rounds = max(1, images // batch)
    for _ in range(rounds):
        run(x).numpy()
    rate = rounds * batch / (time.perf_counter() - start)
    return rate, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
