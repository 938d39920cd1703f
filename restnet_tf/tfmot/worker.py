"""The process in which tensorflow-model-optimization works: reads a folder, leaves its result there.

``python -m restnet_tf.tfmot.worker FOLDER`` with ``TF_USE_LEGACY_KERAS=1``. The folder holds what
``restnet_tf.tfmot.port`` wrote, ``job.json`` and ``check.npz``; ``result.npz`` appears whole or not at all.
Standard output is for the parent: ``step DONE TOTAL`` lines, and ``refused REASON`` before exit code 3.
Nothing of the project is imported but what NumPy or TensorFlow alone needs, and no Keras but tf_keras. Of more than
400 lines, as whatever imports tf_keras stays in this one module.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf.graph import gradients
from restnet_tf.tfmot import grids
from restnet_tf.tfmot.grids import Grid

GRAPH, WEIGHTS, JOB, CHECK, RESULT = "graph.json", "weights.npz", "job.json", "check.npz", "result.npz"
ROUNDED = "rounded.npz"
REFUSED = 3  # exit code
TOLERANCE = 1e-4  # of the largest logit, or of 1 where all are smaller
_BATCH = 128
_RATE = 1e-3
_LABEL_WEIGHT = 0.1  # beside the KL, as in the fit
_PRUNINGS = 20  # masks drawn anew in the course of a training
_LINES = 100  # progress lines
_CHECKS = 8  # validations in the course of a training behind rounding
# Whose results a file may hold with their axes in another order.
_TURNED = ("Einsum", "EinsumDense", "Softmax")
_KERNELS = ("kernel", "depthwise_kernel")


class RefusedError(Exception):
    """What the parent should tell the user in one line."""


@dataclass(frozen=True)
class Optimisation:
    """What to do: ``method`` with ``amount`` on the kernels of the layers ``targets``, by number.

    Trained beside them are all weights of the layers ``beside``; all others stay. ``files`` are the paths of the
    arrays ``x``, ``teacher`` and ``labels``, and where the best of a training is kept, of ``judge_x`` and
    ``judge_teacher``. Beside the job, ``rounded.npz`` holds inputs ``x``, what the tensors of an int8 file are on them
    (``0``, ``1``, ...) and ``grids``, the least and greatest value of each and, last, of the input.
    """

    method: str
    amount: float
    targets: tuple[int, ...]
    beside: tuple[int, ...]
    epochs: int
    seed: int
    files: dict[str, str]


def main(folder: Path) -> None:
    """Port, check, optimise, check again, leave the weights."""
    content = json.loads((folder / JOB).read_text(encoding="utf-8"))
    job = Optimisation(**content | {name: tuple(content[name]) for name in ("targets", "beside")})
    gc.disable()  # it would walk what TensorFlow makes, again and again, a fifth of its import
    import tf_keras  # seconds, which a job that cannot be read is not worth

    gc.freeze()
    gc.enable()
    gradients.mend()
    tf_keras.utils.set_random_seed(job.seed)
    model = _ported(folder)
    with np.load(folder / CHECK) as check:
        x, expected = check["x"], check["logits"]
    _verify(model, x, expected)
    weights, notes = _METHODS[job.method](folder, job)
    plain = _ported(folder)
    changed = _assign(plain, weights)
    images = np.array(_steps(job) * min(_BATCH, _count(job)))
    result = changed | notes | {"logits": np.asarray(plain(x, training=False)), "images": images}
    partial = folder / f"partial-{RESULT}"
    np.savez(partial, **result)  # type: ignore[arg-type]
    partial.rename(folder / RESULT)


def _ported(folder: Path, rounding: Mapping[int, Grid] | None = None) -> Any:
    """The described model in tf_keras; layers are called by their numbers.

    ``rounding`` are the grids behind calls, by their tensors' numbers: 0 is the input.
    """
    import tf_keras

    content, rounding = _graph(folder), rounding or {}
    image = tf_keras.Input(content["input_shape"])
    layers = [_layer(index, entry, _own_layers()) for index, entry in enumerate(content["layers"])]
    model = tf_keras.Model(image, _called(content, layers, image, rounding)[-1])
    with np.load(folder / WEIGHTS) as stored:
        _load(layers, content["layers"], dict(stored))
    return model


def _graph(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / GRAPH).read_text(encoding="utf-8"))
    return content


def _called(content: Mapping[str, Any], layers: Sequence[Any], image: Any, rounding: Mapping[int, Grid]) -> list[Any]:
    """All tensors of the graph, the input's first."""
    made = _own_layers()["Round"]

    def rounded(tensor: Any, number: int) -> Any:
        grid = rounding.get(number)
        return tensor if grid is None else made(grid.low, grid.high, name=f"round{number}")(tensor)

    tensors = [rounded(image, 0)]
    for number, call in enumerate(content["calls"], start=1):
        starts = [tensors[i] for i in call["inputs"]]
        tensors.append(rounded(layers[call["layer"]](starts if call["listed"] else starts[0]), number))
    return tensors


def _layer(index: int, entry: dict[str, Any], own: Mapping[str, Any]) -> Any:
    import tf_keras

    kind = own.get(entry["class_name"]) or getattr(tf_keras.layers, entry["class_name"], None)
    if kind is None:
        raise RefusedError(f"tf_keras has no layer {entry['class_name']}, which {entry['name']} is")
    try:
        return kind.from_config({**entry["config"], "name": _name(index)})
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[-1]  # tf_keras prints the whole config first
        raise RefusedError(f"tf_keras takes {entry['name']} ({entry['class_name']}) not as it is: {reason}") from None


@cache
def _own_layers() -> dict[str, Any]:
    """What tf_keras lacks, or has otherwise; made here, as their bases are tf_keras's."""
    import tensorflow as tf
    import tf_keras

    base: Any = tf_keras.layers.Layer
    norm: Any = tf_keras.layers.BatchNormalization

    class BatchNormalization(norm):
        """With its statistics as they are, where it is trained too."""

        def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            return super().call(inputs, training=False)

    class PositionBias(base):
        """A value for every position, added."""

        def build(self, input_shape: Any) -> None:
            self.table = self.add_weight(name="table", shape=input_shape[1:], initializer="zeros")

        def call(self, inputs: Any) -> Any:
            return inputs + self.table

    class Einsum(base):
        """A product of two tensors."""

        def __init__(self, equation: str, **options: Any) -> None:
            super().__init__(**options)
            self.equation = equation

        def call(self, inputs: Any) -> Any:
            return tf.einsum(self.equation, *inputs)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "equation": self.equation}

    class Round(base):
        """Values as 256 integers from ``low`` to ``high`` hold them; gradients pass where they are between these."""

        def __init__(self, low: float, high: float, **options: Any) -> None:
            super().__init__(**options)
            self.low, self.high = low, high

        def call(self, inputs: Any) -> Any:
            return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high, num_bits=8)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "low": self.low, "high": self.high}

    classes: tuple[Any, ...] = (BatchNormalization, PositionBias, Einsum, Round)
    return {kind.__name__: kind for kind in classes}


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
        variable = _variable(model, key)
        if not np.array_equal(np.asarray(variable), value):
            changed[key] = value
        variable.assign(value)
    return changed


def _variable(model: Any, key: str) -> Any:
    index, name = key.split("/")
    return next(v for v in model.get_layer(_name(int(index))).weights if _short(v) == name)


def _pruned(folder: Path, job: Optimisation) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The smallest weights of every kernel held at zero, more of them from step to step."""
    import tensorflow_model_optimization as tfmot

    sparsity = tfmot.sparsity.keras
    steps = _steps(job)
    # The last third of the steps trains what is left; masks are drawn at whole multiples of the frequency.
    frequency = max(1, steps * 2 // 3 // _PRUNINGS)
    last = 1 + frequency * max(1, min(_PRUNINGS, (steps - 1) // frequency))
    schedule = sparsity.PolynomialDecay(0.0, job.amount, begin_step=1, end_step=min(last, steps), frequency=frequency)
    model = _ported(folder)
    wrapped = _wrapped(model, job, lambda layer: sparsity.prune_low_magnitude(layer, pruning_schedule=schedule))
    _train(wrapped, job, [sparsity.UpdatePruningStep()])
    return _weights(sparsity.strip_pruning(wrapped), job), {}


def _clustered(folder: Path, job: Optimisation) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """At most so many distinct values in every kernel."""
    import tensorflow_model_optimization as tfmot

    clustering = tfmot.clustering.keras
    start = clustering.CentroidInitialization.KMEANS_PLUS_PLUS
    model = _ported(folder)
    wrapped = _wrapped(model, job, lambda layer: clustering.cluster_weights(layer, int(job.amount), start))
    _train(wrapped, job, [])
    return _weights(clustering.strip_clustering(wrapped), job), {}


def _quantised(folder: Path, job: Optimisation) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Trained behind the rounding of an int8 file: its activations' grids, and all kernels on their own.

    The targets' kernels move on their grids; of all others the integers stay as they are.
    """
    import tensorflow_model_optimization as tfmot

    quantization, content = tfmot.quantization.keras, _graph(folder)
    rounding = _rounding(folder)
    model = _ported(folder, rounding)
    axes = _summed(content, model)
    stored = {key: v for key, v in _kernels(model, axes).items() if int(key.split("/")[0]) not in job.targets}
    _assign(model, {key: grids.on_grid(v, axes[key]) for key, v in stored.items()})
    classes = _quantisers()
    config, scheme, names = classes["WeightsConfig"], classes["AsAnnotated"](), {_name(i) for i in job.targets}

    def annotated(layer: Any) -> Any:
        return quantization.quantize_annotate_layer(layer, config()) if layer.name in names else layer

    import tf_keras

    with quantization.quantize_scope({**classes, **_own_layers()}):
        wrapped = quantization.quantize_apply(tf_keras.models.clone_model(model, clone_function=annotated), scheme)
    _freeze(wrapped, job)
    _train(wrapped, job, [_best(wrapped, job)] if "judge_x" in job.files else [])
    trained = {key: grids.on_grid(v, axes[key]) if key in axes else v for key, v in _weights(wrapped, job).items()}
    return trained, {"rounded": np.array(len(rounding))}


_METHODS = {"prune": _pruned, "cluster": _clustered, "qat": _quantised}


def _rounding(folder: Path) -> dict[int, Grid]:
    """The grid of every tensor that the int8 file rounds too, by its number."""
    import tf_keras

    with np.load(folder / ROUNDED) as stored:
        rounded = dict(stored)
    *ranges, own = (Grid(float(low), float(high)) for low, high in rounded.pop("grids"))
    x, content = rounded.pop("x"), _graph(folder)
    model = _ported(folder)
    names = [_name(call["layer"]) for call in content["calls"]]
    observed = tf_keras.Model(model.input, _results(model, names))
    outputs = [np.asarray(y) for y in observed(x, training=False)]
    turned = {i for i, c in enumerate(content["calls"]) if content["layers"][c["layer"]]["class_name"] in _TURNED}
    values = [rounded[str(i)] for i in range(len(ranges))]
    return {0: own, **{i + 1: grid for i, grid in grids.of_calls(outputs, values, ranges, turned).items()}}


def _results(model: Any, names: Sequence[str]) -> list[Any]:
    """What each call of the layers of these names gives, in their order."""
    calls: dict[str, int] = {}
    results = []
    for name in names:
        results.append(model.get_layer(name).get_output_at(calls.setdefault(name, 0)))
        calls[name] += 1
    return results


def _kernels(model: Any, axes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """All kernels, by layer number and short name."""
    return {key: np.asarray(_variable(model, key)) for key in axes}


def _summed(content: Mapping[str, Any], model: Any) -> dict[str, tuple[int, ...]]:
    """The axes that each kernel is summed over, by layer number and short name."""
    axes = {}
    for index, entry in enumerate(content["layers"]):
        for variable in model.get_layer(_name(index)).weights:
            if (name := _short(variable)) in _KERNELS:
                rank, equation = len(variable.shape), entry["config"].get("equation", "")
                axes[f"{index}/{name}"] = grids.summed(entry["class_name"], rank, equation)
    return axes


def _quantisers() -> dict[str, Any]:
    """What tfmot needs in order to quantise just what is annotated; made here, as their bases are tfmot's."""
    import tensorflow_model_optimization as tfmot

    quantization = tfmot.quantization.keras
    quantize_config: Any = quantization.QuantizeConfig
    quantize_scheme: Any = quantization.QuantizeScheme

    class WeightsConfig(quantize_config):
        """The kernel alone: what layers give is rounded by layers of its own."""

        def get_weights_and_quantizers(self, layer: Any) -> list[Any]:
            per_axis = len(layer.kernel.shape) in (2, 4)
            quantiser = quantization.quantizers.LastValueQuantizer(
                num_bits=8, per_axis=per_axis, symmetric=True, narrow_range=True
            )
            return [(layer.kernel, quantiser)]

        def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
            layer.kernel = quantize_weights[0]

        def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
            return []

        def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
            pass  # none were asked for above; the interface wants the method

        def get_output_quantizers(self, layer: Any) -> list[Any]:
            return []

        def get_config(self) -> dict[str, Any]:
            return {}

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

    return {"WeightsConfig": WeightsConfig, "AsAnnotated": AsAnnotated}


def _wrapped(model: Any, job: Optimisation, wrap: Callable[[Any], Any]) -> Any:
    import tf_keras

    names = {_name(index) for index in job.targets}
    wrapped = tf_keras.models.clone_model(
        model, clone_function=lambda layer: wrap(layer) if layer.name in names else layer
    )
    _freeze(wrapped, job)
    return wrapped


def _freeze(model: Any, job: Optimisation) -> None:
    """All but what the job trains."""
    names = {_name(index) for index in (*job.targets, *job.beside)}
    for layer in model.layers:
        layer.trainable = getattr(layer, "layer", layer).name in names


def _weights(model: Any, job: Optimisation) -> dict[str, np.ndarray]:
    """What was trained, by layer number and short name: of the targets kernel and bias."""
    weights: dict[str, np.ndarray] = {}
    wrappers = {getattr(layer, "layer", layer).name: layer for layer in model.layers}
    for index in job.targets:
        wrapper = wrappers[_name(index)]
        own = {_short(v): np.asarray(v) for v in getattr(wrapper, "layer", wrapper).weights}
        every = own | {_short(v): np.asarray(v) for v in wrapper.trainable_weights}
        weights |= {f"{index}/{name}": every[name] for name in ("kernel", "bias") if name in every}
    for index in job.beside:
        trained = wrappers[_name(index)].trainable_weights
        weights |= {f"{index}/{_short(v)}": np.asarray(v) for v in trained}
    return weights


def _best(model: Any, job: Optimisation) -> Any:
    """A callback that keeps the weights of the validation with the least KL, and leaves them in the end."""
    import tf_keras

    base: Any = tf_keras.callbacks.Callback
    x, teacher = (np.load(job.files[name], mmap_mode="r") for name in ("judge_x", "judge_teacher"))
    loss, steps = _loss(teacher.shape[1]), _steps(job)

    class Best(base):
        def __init__(self) -> None:
            super().__init__()
            self.least, self.kept = np.inf, model.get_weights()

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            if (batch + 1) * _CHECKS % steps >= _CHECKS and batch + 1 < steps:
                return
            kl = np.mean([np.mean(self._kl(at)) for at in range(0, len(x), _BATCH)])
            if kl < self.least:
                self.least, self.kept = float(kl), model.get_weights()

        def _kl(self, at: int) -> Any:
            rows = slice(at, at + _BATCH)
            logits = model(np.asarray(x[rows], np.float32), training=False)
            return loss(np.concatenate([teacher[rows], np.zeros_like(teacher[rows])], axis=1), logits)

        def on_train_end(self, logs: Any = None) -> None:
            model.set_weights(self.kept)

    return Best()


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
    for _ in range(steps):
        if len(order) < size:
            order = np.concatenate([order, rng.permutation(len(x))])
        rows, order = np.sort(order[:size]), order[size:]  # sorted rows read the file forwards
        yield (
            x[rows].astype(np.float32),
            np.concatenate([teacher[rows], labels[rows] if labels.shape[1] else none], axis=1),
        )


def _tell(step: int, total: int) -> None:
    if step == total or step * _LINES // total > (step - 1) * _LINES // total:
        print("step", step, total, flush=True)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except RefusedError as refusal:
        print("refused", " ".join(str(refusal).split()), flush=True)
        sys.exit(REFUSED)
