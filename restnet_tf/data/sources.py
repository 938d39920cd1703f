"""What the user's words name: a folder, an ``.npz`` file or a data set of Keras, as parts with labels.

Splitting is not done here: a source says which splits were given and what is in them.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np

from restnet_tf.data import array_names, cluttered, folders, lists, photographs, tensorflow_sets
from restnet_tf.data.arrays import integer_labels, one_line, raw_pixels, read_npz
from restnet_tf.data.images import Pixels, content_hash
from restnet_tf.data.listing import ALIASES, SPLITS, ImageSet, Listing
from restnet_tf.data.values import PREFIX, meant, of_array
from restnet_tf.records import RestnetError, RestnetWarning

# Keras' data set -> the file that it looks for in its cache, the class names.
_KERAS: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "cifar10": (
        "cifar-10-batches-py-target_archive (cifar-10-python.tar.gz under that name)",
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
    "cifar100": ("cifar-100-python-target_archive (cifar-100-python.tar.gz under that name)", None),
    "mnist": ("mnist.npz", tuple("0123456789")),
    "fashion_mnist": (
        "fashion-mnist/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz (four files)",
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    ),
}
_ACCEPTED = (
    "a folder of images, .npy arrays or .csv windows (a sub-folder per class; train/validation/test folders; or flat "
    "and unlabelled), "
    f"a .csv of path,label, an .npz file, 'digits', '{cluttered.NAME}', or one of "
    f"{', '.join(f'keras:{name}' for name in _KERAS)}"
)


def find(spec: str) -> Listing:
    """The source that ``spec`` names; raises RestnetError, and OSError for what cannot be read."""
    if spec == "digits":
        return _digits()
    if spec == cluttered.NAME:
        return _from_arrays(spec, spec, cluttered.arrays())
    if spec == photographs.NAME:
        return _from_arrays(spec, spec, photographs.arrays())
    if spec.startswith("keras:"):
        return _keras(spec)
    if spec.startswith(tensorflow_sets.PREFIX):
        return tensorflow_sets.read(spec)
    path = Path(spec.removeprefix(PREFIX))
    if path.is_dir():
        return folders.read(path)
    if not path.exists():
        raise RestnetError(f"{spec}: no such file or folder; give {_ACCEPTED}")
    if path.suffix.lower() in lists.ENDINGS:
        return lists.read(path)
    if path.suffix.lower() != ".npz":
        raise RestnetError(f"{spec}: a file, but not .npz; give {_ACCEPTED}")
    return _from_arrays(path.stem, spec, read_npz(path))


def _digits() -> Listing:
    from sklearn.datasets import load_digits

    bundle = load_digits()
    pixels = np.rint(bundle.images * (255 / 16)).astype(np.uint8)
    names = np.asarray([str(name) for name in bundle.target_names])
    return _from_arrays("digits", "digits", {"x": pixels, "y": bundle.target, "class_names": names})


def _keras(spec: str) -> Listing:
    name = spec.removeprefix("keras:")
    if name not in _KERAS:
        raise RestnetError(f"{spec}: no such data set; give {_ACCEPTED}")
    import keras

    archive, class_names = _KERAS[name]
    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a bare Exception where a download fails
        cache = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "datasets"
        raise RestnetError(
            f"{spec}: not in Keras' cache, and it cannot be downloaded ({one_line(error)}); "
            f"where there is no network, put {archive} into {cache}"
        ) from error
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    if class_names is not None:
        arrays["class_names"] = np.asarray(class_names)
    return _from_arrays(name, spec, arrays)


def _from_arrays(name: str, spec: str, arrays: dict[str, np.ndarray]) -> Listing:
    left = array_names.canonical(arrays)
    class_names = left.pop("class_names", None)
    if "x" in left and any(key.startswith("x_") for key in left):
        raise RestnetError(f"{spec}: both x and {next(k for k in left if k.startswith('x_'))}; give one form")
    if "x" in left:
        pairs = {"fit": (left.pop("x"), left.pop("y", None))}
    else:
        xs, ys = ({split: _popped(spec, left, prefix, split) for split in SPLITS} for prefix in "xy")
        pairs = {split: (x, ys[split]) for split, x in xs.items() if x is not None}
        if alone := [ALIASES[split][0] for split in SPLITS if xs[split] is None and ys[split] is not None]:
            raise RestnetError(f"{spec}: labels, but no images (x) for {', '.join(alone)}")
    if "fit" not in pairs:
        raise RestnetError(f"{spec}: neither x nor x_train among its arrays ({', '.join(arrays) or 'none'})")
    if left:
        warnings.warn(f"{spec}: not used: {', '.join(left)}", RestnetWarning, stacklevel=4)
    plain = spec.startswith(PREFIX) or any(meant(x) for x, _ in pairs.values())
    parts = {split: _array_part(f"{spec}: {split}", x, y, plain) for split, (x, y) in pairs.items()}
    if plain and len(shapes := {str(part.images.shape) for part in parts.values()}) > 1:
        raise RestnetError(f"{spec}: examples of several shapes, {' and '.join(sorted(shapes))}; give one")
    return Listing(name, parts, _names(spec, class_names))


def _popped(spec: str, arrays: dict[str, np.ndarray], prefix: str, split: str) -> np.ndarray | None:
    keys = [key for alias in ALIASES[split] if (key := f"{prefix}_{alias}") in arrays]
    if len(keys) > 1:
        raise RestnetError(f"{spec}: {' and '.join(keys)} mean the same split; keep one")
    return arrays.pop(keys[0]) if keys else None


def _names(spec: str, names: np.ndarray | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    if names.ndim != 1 or names.dtype.kind != "U":
        raise RestnetError(f"{spec}: class_names must be a list of strings, not {names.dtype}{names.shape}")
    return tuple(names.tolist())


def _array_part(where: str, x: np.ndarray, y: np.ndarray | None, plain: bool) -> ImageSet:
    images = of_array(where, x) if plain else _pixels(where, x)
    labels = None if y is None else integer_labels(where, y, len(images))
    contents = tuple(content_hash(images.shape, image.tobytes()) for image in images.array)
    return ImageSet(images, labels, contents)


def _pixels(where: str, x: np.ndarray) -> Pixels:
    pixels = raw_pixels(where, x)
    return Pixels(pixels, np.arange(len(pixels)))
