"""Weight files of Keras Applications: where they lie, what they hold, whether they fit.

Both formats are read by content, not by name: the one of Keras 3 (``layers/<class>_<n>/vars/<i>``)
and the legacy one (``layer_names``/``weight_names`` attributes, also inside a full ``.h5`` model).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.anchors import content
from restnet_tf.records import RestnetError

if TYPE_CHECKING:
    import h5py

SHOWN = 3  # differences that a message spells out
CONNECT_SECONDS = 20.0


@dataclass(frozen=True)
class WeightMatch:
    """How a weight file and a model match: what can be assigned, and what stands in the way."""

    pairs: tuple[tuple[Any, np.ndarray], ...]
    differing: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    classes: int | None = None  # of the file, where only the classifier's last axis differs

    @property
    def faults(self) -> int:
        """How many weights do not match."""
        return len(self.differing) + len(self.missing) + len(self.extra)


class MissingWeightsError(RestnetError):
    """Files of weights that are neither in the places nor to be had."""

    def __init__(self, files: Mapping[str, str], reason: str, places: tuple[Path, ...]) -> None:
        """Say so of files ``name: architecture``; ``reason`` is what the download came to."""
        self.files, self.reason, self.places = files, reason, places
        labels, names = " and ".join(dict.fromkeys(files.values())), " and ".join(files)
        super().__init__(
            f"{labels}: the ImageNet weights {names} are not here and cannot be downloaded "
            f"({reason}); put {names} into {' or '.join(map(str, places))}, or use weights 'none'"
        )

    @classmethod
    def of_all(cls, errors: Sequence[MissingWeightsError]) -> MissingWeightsError:
        """One error of several."""
        files = {name: label for error in errors for name, label in error.files.items()}
        return cls(files, errors[0].reason, errors[0].places)


def first_line(error: BaseException) -> str:
    """Give an exception's message as one line of bearable length."""
    # Keras wraps the cause at the end of a dump of the whole configuration.
    text = " ".join(str(error).rpartition("Exception encountered:")[2].split())
    return text if len(text) <= 300 else text[:297] + "..."


def cache_folder() -> Path:
    """Keras' own folder for downloaded weights: ``$KERAS_HOME/models`` or ``~/.keras/models``."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "models"


def folders(weights_dir: Path | None) -> list[Path]:
    """Where weight files are looked for, in this order: the user's folder, where given, and Keras' own."""
    return [*([weights_dir] if weights_dir else []), cache_folder()]


@contextmanager
def imagenet_files(label: str, weights_dir: Path | None) -> Iterator[None]:
    """Let a Keras Applications constructor find its files here, and load them by ``load``.

    The constructor itself says which file it wants; ``weights_dir`` is tried first, then the cache,
    then the download. Raises RestnetError naming the file and both folders when none has it.
    """
    import keras
    from keras.src.utils import file_utils

    download, native = file_utils.get_file, keras.Model.load_weights

    def get_file(fname: str, origin: str, file_hash: str | None = None, **_: Any) -> str:
        return str(_find(label, weights_dir, fname, origin, file_hash, download, file_utils.validate_file))

    file_utils.get_file = get_file
    keras.Model.load_weights = lambda model, path, **_: load(model, Path(path), label)
    try:
        yield
    finally:
        file_utils.get_file, keras.Model.load_weights = download, native


def _find(
    label: str,
    weights_dir: Path | None,
    fname: str,
    origin: str,
    file_hash: str | None,
    download: Callable[..., str],
    validate: Callable[[str, str], bool],
) -> Path:
    places = folders(weights_dir)
    # Keras writes under the file's own name: what another process is at would be taken for a broken one.
    with _alone(fname):
        for folder in places:
            path = folder / fname
            if path.is_file():
                if file_hash and not validate(str(path), file_hash):
                    raise RestnetError(
                        f"{path} is not the file that Keras publishes for {label} (its hash differs): remove it "
                        f"to download it again, or give it as a file with the architecture {label}"
                    )
                return path
        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(CONNECT_SECONDS)
        try:
            root = str(cache_folder().parent)
            return Path(download(fname, origin, file_hash=file_hash, cache_subdir="models", cache_dir=root))
        except Exception as error:
            raise MissingWeightsError({fname: label}, first_line(error), tuple(places)) from error
        finally:
            socket.setdefaulttimeout(timeout)


@contextmanager
def _alone(fname: str) -> Iterator[None]:
    """Keep other processes away from a file in Keras' folder, where that can be written."""
    from filelock import FileLock

    folder = cache_folder()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{fname}.lock") if os.access(folder, os.W_OK) else nullcontext():
        yield


def load(model: Any, path: Path, label: str) -> None:
    """Assign the file's weights to the model; RestnetError says which of them do not fit."""
    match = compare(model, path)
    if match.faults:
        raise RestnetError(misfit(match, path, label))
    assign(model, match)


def assign(model: Any, match: WeightMatch) -> None:
    """Write the values of a match without faults into the model's variables."""
    for variable, value in match.pairs:
        variable.assign(value.astype(variable.dtype))
    for layer in model.layers:
        if hasattr(layer, "finalize_state") and layer.weights:
            layer.finalize_state()  # Normalization computes with a copy that it takes of its variables


def misfit(match: WeightMatch, path: Path, label: str) -> str:
    """Say in one line why the file does not fit the architecture."""

    kinds = {"shapes differ:": match.differing, "not in the file:": match.missing, "only in the file:": match.extra}
    reasons = [f"{what} {some(items)}" for what, items in kinds.items() if items]
    return f"{path.name} holds the weights of another architecture than {label}: {'; '.join(reasons)}"


def some(items: Sequence[str]) -> str:
    """The first few items, and how many more there are."""
    rest = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + rest


def holds_weights(path: Path) -> bool:
    """Whether an HDF5 file holds weights in one of the two formats."""
    if content.of(path) != content.HDF5:
        return False
    with content.opened(path) as file:
        return _legacy_group(file) is not None or _layer_group(file) is not None


def holds_config(path: Path) -> bool:
    """Whether an HDF5 file describes its architecture too, and so is a whole model."""
    if content.of(path) != content.HDF5:
        return False
    with content.opened(path) as file:
        return "model_config" in file.attrs


def named_values(file: h5py.File) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Names and values of the weights of each layer in an open file of the legacy format."""
    group = _legacy_group(file)
    if group is None:
        raise RestnetError("it holds no weights")
    layers = {name: _names(group[name], "weight_names") for name in _names(group, "layer_names")}
    return {name: [(w, group[name][w][()]) for w in weights] for name, weights in layers.items()}


def ends_in_classifier(path: Path) -> bool:
    """Guess from a weight file whether it holds a classifier; a Dense is proof, a convolution is not.

    Raises RestnetError when the file holds no weights.
    """
    legacy, stored = _read(path)
    if not legacy:
        return any(key.startswith("dense") for key in stored)
    return next(reversed(stored.values()))[0].ndim == 2


def compare(model: Any, path: Path) -> WeightMatch:
    """Match the file's weights with the model's, layer by layer, as Keras would.

    Raises RestnetError when the file is not HDF5 or holds no weights.
    """
    legacy, stored = _read(path)
    variables = _variables_legacy(model, stored) if legacy else _variables(model)
    return _match(variables, stored)


def _read(path: Path) -> tuple[bool, dict[str, list[np.ndarray]]]:
    """Whether the file is of the legacy format, and its arrays by layer."""
    if not path.is_file():
        raise RestnetError(f"no weight file {path}")
    if not holds_weights(path):
        raise RestnetError(f"{path} holds no Keras weights; expected what model.save_weights or model.save wrote")
    with content.opened(path) as file:
        if _legacy_group(file) is None:
            return False, _stored(_layer_group(file))
        named = named_values(file)
        return True, {name: [value for _, value in values] for name, values in named.items() if values}


def _legacy_group(file: h5py.File) -> Any | None:
    group = file.get("model_weights", file)
    return group if any(key.startswith("layer_names") for key in group.attrs) else None


def _layer_group(file: h5py.File) -> Any | None:
    return next((file[k] for k in ("layers", "_layer_checkpoint_dependencies") if k in file), None)


def _names(group: Any, attribute: str) -> list[str]:
    """List an attribute of names, which Keras splits (``layer_names0``, ...) where it is long."""
    parts = [group.attrs[attribute]] if attribute in group.attrs else []
    while f"{attribute}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{attribute}{len(parts)}"])
    return [n.decode() if isinstance(n, bytes) else str(n) for part in parts for n in part]


def _stored(group: Any) -> dict[str, list[np.ndarray]]:
    return {
        name: [layer["vars"][k][()] for k in sorted(layer["vars"], key=int)]
        for name, layer in group.items()
        if layer.get("vars")
    }


def _variables_legacy(model: Any, stored: dict[str, list[np.ndarray]]) -> dict[str, list[Any]]:
    """Match layers by name where all names agree, else in order (auto-numbered names differ)."""
    layers = [layer for layer in model.layers if layer.weights]
    named = {layer.name: [*layer.trainable_weights, *layer.non_trainable_weights] for layer in layers}
    if set(named) == set(stored) or len(named) != len(stored):
        return named
    return dict(zip(stored, named.values(), strict=True))


def _variables(model: Any) -> dict[str, list[Any]]:
    """Variables under the keys that Keras 3 saves them by: the class name and a running number."""
    from keras.src.utils.naming import to_snake_case

    count: dict[str, int] = {}
    variables = {}
    for layer in model.layers:
        kind = to_snake_case(type(layer).__name__)
        n = count[kind] = count.get(kind, -1) + 1
        own: dict[str, Any] = {}
        layer.save_own_variables(own)
        if own:
            variables[f"{kind}_{n}" if n else kind] = list(own.values())
    return variables


def _match(variables: dict[str, list[Any]], stored: dict[str, list[np.ndarray]]) -> WeightMatch:
    pairs, differing, missing = [], [], []
    last = next(reversed(variables), "")
    classes: set[int] = set()
    for key, own in variables.items():
        values = stored.get(key, [])
        missing += [v.path for v in own[len(values) :]]
        for variable, value in zip(own, values, strict=False):
            want, have = tuple(variable.shape), tuple(value.shape)
            if want == have:
                pairs.append((variable, value))
                continue
            differing.append(f"{variable.path} {have} in the file, {want} in the model")
            same_but_classes = key == last and len(have) == len(want) and have[:-1] == want[:-1]
            classes.add(have[-1] if same_but_classes else -1)
    extra = [key for key, values in stored.items() if len(values) > len(variables.get(key, []))]
    only_classes = len(classes) == 1 and not missing and not extra and -1 not in classes
    return WeightMatch(
        tuple(pairs), tuple(differing), tuple(missing), tuple(extra), classes.pop() if only_classes else None
    )
