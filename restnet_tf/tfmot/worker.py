"""The process in which tensorflow-model-optimization works: reads a folder, leaves its result there.

``python -m restnet_tf.tfmot.worker FOLDER`` with ``TF_USE_LEGACY_KERAS=1``. The folder holds what
``restnet_tf.tfmot.port`` wrote, ``job.json`` and ``check.npz``; ``result.npz`` appears whole or not at all.
Standard output is for the parent: ``step DONE TOTAL`` lines, and ``refused REASON`` before exit code 3.
Nothing of the project is imported but names of files, and no Keras but tf_keras.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

GRAPH, WEIGHTS, JOB, CHECK, RESULT = "graph.json", "weights.npz", "job.json", "check.npz", "result.npz"
REFUSED = 3  # exit code
TOLERANCE = 1e-4  # of the largest logit, or of 1 where all are smaller
_BATCH = 128
_RATE = 1e-3
_LABEL_WEIGHT = 0.1  # beside the KL, as in the fit
_PRUNINGS = 20  # masks drawn anew in the course of a training
_LINES = 100  # progress lines
_INTEGERS = 127  # of a symmetric int8 weight, either way


class RefusedError(Exception):
    """What the parent should tell the user in one line."""


@dataclass(frozen=True)
class Optimisation:
    """What to do: ``method`` with ``amount`` on the layers ``targets``, by number; all others stay.

    ``ends`` are the ranges that int8 has at the input, and so behind layer ``resample``, and behind layer
    ``stitch``. ``files`` are the paths of the arrays ``x``, ``teacher`` and ``labels``.
    """

    method: str
    amount: float
    targets: tuple[int, ...]
    resample: int | None
    stitch: int
    ends: tuple[tuple[float, float], tuple[float, float]]
    epochs: int
    seed: int
    files: dict[str, str]


def main(folder: Path) -> None:
    """Port, check, optimise, check again, leave the weights."""
    import tf_keras

    content = json.loads((folder / JOB).read_text(encoding="utf-8"))
    job = Optimisation(**content | {name: tuple(content[name]) for name in ("targets", "ends")})
    tf_keras.utils.set_random_seed(job.seed)
    model = _ported(folder)
    with np.load(folder / CHECK) as check:
        x, expected = check["x"], check["logits"]
    _verify(model, x, expected)
    weights = _METHODS[job.method](model, job)
    plain = _ported(folder)
    changed = _assign(plain, weights)
    images = np.array(_steps(job) * min(_BATCH, _count(job)))
    result = changed | {"logits": np.asarray(plain(x, training=False)), "images": images}
    partial = folder / f"partial-{RESULT}"
    np.savez(partial, **result)  # type: ignore[arg-type]
    partial.rename(folder / RESULT)


def _ported(folder: Path) -> Any:
    """The described model in tf_keras; layers are called by their numbers."""
    import tf_keras

    content = json.loads((folder / GRAPH).read_text(encoding="utf-8"))
    tensors = [tf_keras.Input(content["input_shape"])]
    layers = [_layer(index, entry) for index, entry in enumerate(content["layers"])]
    for call in content["calls"]:
        starts = [tensors[i] for i in call["inputs"]]
        tensors.append(layers[call["layer"]](starts if call["listed"] else starts[0]))
    model = tf_keras.Model(tensors[0], tensors[-1])
    with np.load(folder / WEIGHTS) as stored:
        _load(layers, content["layers"], dict(stored))
    return model


def _layer(index: int, entry: dict[str, Any]) -> Any:
    import tf_keras

    kind = getattr(tf_keras.layers, entry["class_name"], None)
    if kind is None:
        raise RefusedError(f"tf_keras has no layer {entry['class_name']}, which {entry['name']} is")
    try:
        return kind.from_config({**entry["config"], "name": _name(index)})
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[-1]  # tf_keras prints the whole config first
        raise RefusedError(f"tf_keras takes {entry['name']} ({entry['class_name']}) not as it is: {reason}") from None


def _name(index: int) -> str:
    return f"layer{index}"


def _load(layers: list[Any], entries: list[dict[str, Any]], stored: dict[str, np.ndarray]) -> None:
    for index, layer in enumerate(layers):
        variables = {_short(v): v for v in layer.weights}
        own = {key.split("/")[1] for key in stored if key.startswith(f"{index}/")}
        if set(variables) != own:
            entry = entries[index]
            raise RefusedError(
                f"{entry['name']} ({entry['class_name']}) has {sorted(own)}; tf_keras has {sorted(variables)}"
            )
        for name, variable in variables.items():
            variable.assign(stored[f"{index}/{name}"])
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()  # Normalization computes with a copy of its variables


def _short(variable: Any) -> str:
    return variable.name.split(":")[0].split("/")[-1]


def _verify(model: Any, x: np.ndarray, expected: np.ndarray) -> None:
    logits = np.asarray(model(x, training=False))
    error = float(np.max(np.abs(logits - expected))) / max(1.0, float(np.max(np.abs(expected))))
    if not error <= TOLERANCE:
        raise RefusedError(f"the port to tf_keras gives other outputs (by {error:.1e}, allowed is {TOLERANCE:g})")


def _assign(model: Any, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Set weights, named ``<layer number>/<short name>``; those that really changed."""
    changed = {}
    for key, value in weights.items():
        index, name = key.split("/")
        variable = next(v for v in model.get_layer(_name(int(index))).weights if _short(v) == name)
        if not np.array_equal(np.asarray(variable), value):
            changed[key] = value
        variable.assign(value)
    return changed


def _pruned(model: Any, job: Optimisation) -> dict[str, np.ndarray]:
    """The smallest weights of every kernel held at zero, more of them from step to step."""
    import tensorflow_model_optimization as tfmot

    sparsity = tfmot.sparsity.keras
    steps = _steps(job)
    # The last third of the steps trains what is left; masks are drawn at whole multiples of the frequency.
    frequency = max(1, steps * 2 // 3 // _PRUNINGS)
    last = 1 + frequency * max(1, min(_PRUNINGS, (steps - 1) // frequency))
    schedule = sparsity.PolynomialDecay(0.0, job.amount, begin_step=1, end_step=min(last, steps), frequency=frequency)
    wrapped = _wrapped(model, job, lambda layer: sparsity.prune_low_magnitude(layer, pruning_schedule=schedule))
    _train(wrapped, job, [sparsity.UpdatePruningStep()])
    return _weights(sparsity.strip_pruning(wrapped), job)


def _clustered(model: Any, job: Optimisation) -> dict[str, np.ndarray]:
    """At most so many distinct values in every kernel."""
    import tensorflow_model_optimization as tfmot

    clustering = tfmot.clustering.keras
    start = clustering.CentroidInitialization.KMEANS_PLUS_PLUS
    wrapped = _wrapped(model, job, lambda layer: clustering.cluster_weights(layer, int(job.amount), start))
    _train(wrapped, job, [])
    return _weights(clustering.strip_clustering(wrapped), job)


def _quantised(model: Any, job: Optimisation) -> dict[str, np.ndarray]:
    """Kernels on the grid of int8, trained behind its rounding.

    The ends of the stitch have the ranges that the anchors' own int8 files give them, and learn none.
    Ranges inside the back are left to calibration.
    """
    import tensorflow_model_optimization as tfmot

    quantization = tfmot.quantization.keras
    classes = _quantisers()
    config, scheme = classes["WeightsConfig"], classes["AsAnnotated"]()
    outputs = {_name(job.stitch): job.ends[1]}
    kernels = {_name(index) for index in job.targets}
    if job.resample is not None:
        outputs[_name(job.resample)] = job.ends[0]  # pooling and resizing keep the scale of what they read

    def annotated(layer: Any) -> Any:
        if layer.name not in kernels | set(outputs):
            return layer
        return quantization.quantize_annotate_layer(layer, config(layer.name in kernels, outputs.get(layer.name)))

    import tf_keras

    with quantization.quantize_scope(classes):
        wrapped = quantization.quantize_apply(tf_keras.models.clone_model(model, clone_function=annotated), scheme)
    _freeze(wrapped, job)
    _train(wrapped, job, [])
    return {key: _on_grid(value) if key.endswith("/kernel") else value for key, value in _weights(wrapped, job).items()}


_METHODS = {"prune": _pruned, "cluster": _clustered, "qat": _quantised}


def _on_grid(kernel: np.ndarray) -> np.ndarray:
    """The values that int8 integers stand for: symmetric, a scale per output channel (a dense layer has one)."""
    axes = tuple(range(kernel.ndim - 1)) if kernel.ndim == 4 else None
    scale = np.max(np.abs(kernel), axis=axes, keepdims=True) / _INTEGERS
    scale = np.where(scale == 0, 1, scale)
    return (np.round(kernel / scale) * scale).astype(np.float32)


def _quantisers() -> dict[str, Any]:
    """What tfmot needs in order to quantise just what is annotated; made here, as their bases are tfmot's."""
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot

    quantization = tfmot.quantization.keras
    quantizer: Any = quantization.quantizers.Quantizer
    quantize_config: Any = quantization.QuantizeConfig
    quantize_scheme: Any = quantization.QuantizeScheme

    class FixedRange(quantizer):
        def __init__(self, low: float, high: float) -> None:
            self.low, self.high = low, high

        def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
            return {}

        def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
            return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high, num_bits=8)

        def get_config(self) -> dict[str, Any]:
            return {"low": self.low, "high": self.high}

    class WeightsConfig(quantize_config):
        def __init__(self, kernel: bool, output: Any) -> None:
            self.kernel, self.output = kernel, output

        def get_weights_and_quantizers(self, layer: Any) -> list[Any]:
            if not self.kernel:
                return []
            return [(layer.kernel, _kernel_quantiser(quantization, layer.kernel))]

        def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
            if self.kernel:
                layer.kernel = quantize_weights[0]

        def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
            return []

        def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
            pass  # none were asked for above; the interface wants the method

        def get_output_quantizers(self, layer: Any) -> list[Any]:
            return [] if self.output is None else [FixedRange(*self.output)]

        def get_config(self) -> dict[str, Any]:
            return {"kernel": self.kernel, "output": self.output}

    class AsAnnotated(quantize_scheme):
        """Quantise what is annotated, as it is annotated, and nothing beside it."""

        def get_layout_transformer(self) -> Any:
            return self

        def apply(self, model: Any, layer_quantize_map: Any) -> tuple[Any, Any]:
            return model, layer_quantize_map

        def get_quantize_registry(self) -> Any:
            return self

        def supports(self, layer: Any) -> bool:
            return False

    return {"FixedRange": FixedRange, "WeightsConfig": WeightsConfig, "AsAnnotated": AsAnnotated}


def _kernel_quantiser(quantization: Any, kernel: Any) -> Any:
    per_axis = len(kernel.shape) == 4
    return quantization.quantizers.LastValueQuantizer(
        num_bits=8, per_axis=per_axis, symmetric=True, narrow_range=True
    )  # fmt: skip


def _wrapped(model: Any, job: Optimisation, wrap: Callable[[Any], Any]) -> Any:
    import tf_keras

    names = {_name(index) for index in job.targets}
    wrapped = tf_keras.models.clone_model(
        model, clone_function=lambda layer: wrap(layer) if layer.name in names else layer
    )
    _freeze(wrapped, job)
    return wrapped


def _freeze(model: Any, job: Optimisation) -> None:
    """All but the targets: norms too, which so use their statistics even where the model trains."""
    names = {_name(index) for index in job.targets}
    for layer in model.layers:
        layer.trainable = getattr(layer, "layer", layer).name in names


def _weights(model: Any, job: Optimisation) -> dict[str, np.ndarray]:
    """The targets' kernels and biases by layer number and short name."""
    weights: dict[str, np.ndarray] = {}
    layers = {inner.name: inner for inner in (getattr(layer, "layer", layer) for layer in model.layers)}
    wrappers = {getattr(layer, "layer", layer).name: layer for layer in model.layers}
    for index in job.targets:
        trained = {_short(v): np.asarray(v) for v in wrappers[_name(index)].trainable_weights}
        own = {_short(v): np.asarray(v) for v in layers[_name(index)].weights}
        names = [name for name in ("kernel", "bias") if name in own | trained]
        weights |= {f"{index}/{name}": (own | trained)[name] for name in names}
    return weights


def _train(model: Any, job: Optimisation, callbacks: list[Any]) -> None:
    """Learn the large anchor's outputs, and labels where there are any, from the front's features."""
    import tf_keras

    steps = _steps(job)
    rate = tf_keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=_RATE, warmup_steps=max(1, steps // 20))
    model.compile(tf_keras.optimizers.Adam(rate), loss=_loss(model.output_shape[-1]))
    each_batch = tf_keras.callbacks.LambdaCallback(on_batch_end=lambda step, logs: _tell(step + 1, steps))
    model.fit(_batches(job, steps), steps_per_epoch=steps, epochs=1, verbose=0, callbacks=[*callbacks, each_batch])
    if not all(np.isfinite(np.asarray(v)).all() for v in model.trainable_weights):
        raise RefusedError("the training diverged: weights are not finite")


def _loss(classes: int) -> Callable[[Any, Any], Any]:
    import tensorflow as tf

    def loss(targets: Any, logits: Any) -> Any:
        log_p, log_q = tf.nn.log_softmax(targets[:, :classes]), tf.nn.log_softmax(logits)
        labels = targets[:, classes:]  # rows of zeros where there are none
        cross = -tf.reduce_sum(labels * log_q, axis=-1)
        return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1) + _LABEL_WEIGHT * cross

    return loss


def _steps(job: Optimisation) -> int:
    return max(_PRUNINGS, job.epochs * -(-_count(job) // _BATCH))


def _count(job: Optimisation) -> int:
    return len(np.load(job.files["x"], mmap_mode="r"))


def _batches(job: Optimisation, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features and targets (teacher's logits, then labels) of ``steps`` batches, in a seeded order."""
    x, teacher, labels = (np.load(job.files[name], mmap_mode="r") for name in ("x", "teacher", "labels"))
    rng, order = np.random.default_rng(job.seed), np.empty(0, dtype=int)
    size = min(_BATCH, len(x))
    none = np.zeros((size, teacher.shape[1]), np.float32)
    low, high = job.ends[0]
    for _ in range(steps):
        if len(order) < size:
            order = np.concatenate([order, rng.permutation(len(x))])
        rows, order = np.sort(order[:size]), order[size:]  # sorted rows read the file forwards
        features = x[rows].astype(np.float32)
        if job.method == "qat":
            features = _rounded(features, low, high)
        yield features, np.concatenate([teacher[rows], labels[rows] if labels.shape[1] else none], axis=1)


def _rounded(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """What int8 with this range, zero included, hands over."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2 * _INTEGERS + 1) or 1.0
    start = np.round(low / scale)
    return ((np.clip(np.round(x / scale), start, start + 2 * _INTEGERS + 1)) * scale).astype(np.float32)


def _tell(step: int, total: int) -> None:
    if step == total or step * _LINES // total > (step - 1) * _LINES // total:
        print("step", step, total, flush=True)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except RefusedError as refusal:
        print("refused", " ".join(str(refusal).split()), flush=True)
        sys.exit(REFUSED)
