"""Gradients of kernels that oneDNN writes past its memory for: right, in a process that lives, in all trainings."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import paths
import pytest

from restnet_tf.graph import gradients

# Channels in, channels out, stride, groups, pixels a side.
KERNELS = {
    "one channel": (1, 4, 2, 1, 8),
    "four": (4, 6, 2, 1, 16),
    "fifteen, an odd side": (15, 48, 2, 1, 7),
    "three pixels apart": (8, 8, 3, 1, 10),
    "groups": (8, 8, 2, 2, 8),
    "as many as a block": (16, 8, 2, 1, 8),
    "none skipped": (4, 6, 1, 1, 8),
}
# Once a step, as a training does: by itself the kernel's gradient ends this process in most runs.
TRAINING = """
import numpy as np
from restnet_tf.work import start
start.tensorflow()
import tensorflow as tf
from restnet_tf.graph import gradients
tf.config.threading.set_intra_op_parallelism_threads(2)
tf.config.threading.set_inter_op_parallelism_threads(2)
for channels in (1, 4, 15):
    x, kernel = tf.random.normal((91, 16, 16, channels)), tf.random.normal((1, 1, channels, 6))
    @tf.function(autograph=False)
    def step(x, kernel):
        with gradients.tape() as tape:
            tape.watch(kernel)
            loss = tf.reduce_sum(tf.nn.conv2d(x, kernel, 2, "SAME"))
        return tape.gradient(loss, kernel)
    for _ in range(60):
        got = step(x, kernel).numpy()
    expected = np.repeat(x.numpy()[:, ::2, ::2].sum((0, 1, 2))[:, None], 6, 1)
    np.testing.assert_allclose(got[0, 0], expected, rtol=1e-3, atol=0.05)
print("lived")
"""


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_a_kernel_of_one_pixel_has_the_gradients_of_its_sum(kernel: tuple[int, ...], padding: str) -> None:
    import tensorflow as tf

    channels, out, stride, groups, size = kernel
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, size, size, channels)).astype("float32")
    weights = rng.normal(size=(1, 1, channels // groups, out)).astype("float32")
    read = np.split(x[:, ::stride, ::stride], groups, -1)
    parts = np.split(weights[0, 0], groups, -1)
    # Half the sum of squares: the gradient of an output is itself.
    outputs = [a @ w for a, w in zip(read, parts, strict=True)]
    of_x = np.zeros_like(x)
    of_x[:, ::stride, ::stride] = np.concatenate([y @ w.T for y, w in zip(outputs, parts, strict=True)], -1)
    of_weights = np.concatenate([np.einsum("nhwc,nhwo->co", a, y) for a, y in zip(read, outputs, strict=True)], -1)
    for run in (tf.function, lambda function: function):
        got = run(_gradients(stride, padding))(tf.constant(x), tf.constant(weights))
        np.testing.assert_allclose(got[0], of_x, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(got[1][0, 0], of_weights, rtol=1e-4, atol=1e-3)


def _gradients(stride: int, padding: str):
    import tensorflow as tf

    def both(x, weights):
        with gradients.tape() as tape:
            tape.watch((x, weights))
            loss = tf.reduce_sum(tf.square(tf.nn.conv2d(x, weights, stride, padding))) / 2
        return tape.gradient(loss, (x, weights))

    return both


@pytest.mark.slow
def test_a_process_of_two_threads_lives() -> None:
    ended = subprocess.run([sys.executable, "-c", TRAINING], cwd=paths.ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout == "lived\n"


def test_all_trainings_record_themselves_there() -> None:
    taken = {
        path.relative_to(paths.ROOT).as_posix()
        for package in ("restnet_tf", "tflite_export")
        for path in (paths.ROOT / package).rglob("*.py")
        if "GradientTape" in path.read_text()
    }
    assert taken == {"restnet_tf/graph/gradients.py"}
