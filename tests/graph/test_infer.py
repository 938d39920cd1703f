"""Running whole models: the same outputs, in memory that does not grow with the layers."""

from __future__ import annotations

import subprocess
import sys

import networks
import numpy as np
import pytest

from restnet_tf.graph import infer

# 60 layers of 8 MB each: 480 MB where all of them are held.
PEAK = """
from pathlib import Path
import numpy as np
from restnet_tf.graph import infer
from restnet_tf.work import start
with start.uncollected(), start.spared():
    import keras
def peak():  # of this process alone: getrusage would hand down the peak of the one that started it
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
x = image = keras.Input((256, 256, 8))
for _ in range(60):
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
model = keras.Model(image, x)
for run in infer.compiled(model), lambda x: model(x, training=False):
    run(np.zeros((1, 256, 256, 8), np.float32))
    before = peak()
    run(np.zeros((4, 256, 256, 8), np.float32))
    print((peak() - before) // 1024)
"""


def test_it_is_the_model() -> None:
    model = networks.anchor().model
    x = networks.images(5).astype(np.float32)
    np.testing.assert_allclose(infer.compiled(model)(x), networks.forward(model, x), atol=1e-6)


def peaks() -> tuple[int, int]:
    """Megabytes above the peak before: compiled, then called."""
    run = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    compiled, called = map(int, run.stdout.split())
    return compiled, called


@pytest.mark.slow
def test_memory_does_not_grow_with_the_layers() -> None:
    """One of three times, as threads that lag on a busy machine hold some more than the network needs."""
    told = []
    for _ in range(3):
        told.append(peaks())
        if told[-1][1] > 2 * told[-1][0]:
            return
    pytest.fail(f"MB when compiled and when called: {told}")


@pytest.mark.parametrize(
    ("shape", "batch"), [((32, 32, 3), 128), ((224, 224, 3), 27), ((1024, 1024, 3), 8), ((8, 8, 1), 128)]
)
def test_batches_of_large_images_are_small(shape: tuple[int, ...], batch: int) -> None:
    assert infer.batch_size(shape) == batch
    assert infer.batch_size(shape, most=16) == min(16, batch)
