"""What the user's words name: a folder, an ``.npz`` file or a data set of Keras, as parts with labels.

Splitting is not done here: a source says which splits were given and what is in them.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restnet_tf.data.arrays import integer_labels, one_line, raw_pixels, read_npz
from restnet_tf.data.images import Files, Images, Pixels, content_hash, examine_all
from restnet_tf.records import RestnetError, RestnetWarning

# What each split is called in folders (``train/``) and in arrays (``x_train``).
ALIASES = {"fit": ("train",), "rank": ("validation", "val", "valid"), "test": ("test",)}
SPLITS = tuple(ALIASES)
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
_SUFFIXES: tuple[str, ...] = (
    ".bmp",
    ".dib",
    ".gif",
    ".jfif",
    ".jp2",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
)
_SUFFIXES += (".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp")
_ACCEPTED = (
    "a folder of images (a sub-folder per class; train/validation/test folders; or flat and unlabelled), "
    f"an .npz file, 'digits', or one of {', '.join(f'keras:{name}' for name in _KERAS)}"
)
_CORRUPT_LIMIT = 0.05


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images that belong together, with the content hash of each."""

    images: Images
    labels: np.ndarray | None
    contents: tuple[bytes, ...]

    def take(self, rows: Sequence[int] | np.ndarray) -> ImageSet:
        """The images at ``rows``, in that order."""
        labels = None if self.labels is None else self.labels[np.asarray(rows, np.int64)]
        return ImageSet(self.images.take(rows), labels, tuple(self.contents[i] for i in rows))


@dataclass(frozen=True, eq=False)
class Listing:
    """What the user named: ``parts`` holds "fit" and whichever other splits were given."""

    name: str
    parts: dict[str, ImageSet]
    class_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()


def find(spec: str) -> Listing:
    """The source that ``spec`` names; raises RestnetError, and OSError for what cannot be read."""
    if spec == "digits":
        return _digits()
    if spec.startswith("keras:"):
        return _keras(spec)
    path = Path(spec)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise RestnetError(f"{spec}: no such file or folder; give {_ACCEPTED}")
    if path.suffix.lower() != ".npz":
        raise RestnetError(f"{spec}: a file, but not .npz; give {_ACCEPTED}")
    arrays = read_npz(path)
    return _from_arrays(path.stem, spec, arrays)


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
    left = dict(arrays)
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
    parts = {split: _array_part(f"{spec}: {split}", x, y) for split, (x, y) in pairs.items()}
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


def _array_part(where: str, x: np.ndarray, y: np.ndarray | None) -> ImageSet:
    pixels = raw_pixels(where, x)
    labels = None if y is None else integer_labels(where, y, len(pixels))
    contents = tuple(content_hash(pixels.shape[1:], image.tobytes()) for image in pixels)
    return ImageSet(Pixels(pixels, np.arange(len(pixels))), labels, contents)


_Tree = dict[str | None, list[str]]  # class name -> image paths; None -> unlabelled ones


def _folder(root: Path) -> Listing:
    strays: list[str] = []
    trees = {split: _tree(folder, strays) for split, folder in _split_folders(root, strays).items()}
    class_names = _class_names(root, trees)
    if strays:
        named = ", ".join(sorted(strays)[:3]) + (", ..." if len(strays) > 3 else "")
        text = f"{root}: {len(strays)} files without an image suffix left out: {named}"
        warnings.warn(text, RestnetWarning, stacklevel=4)
    contents = _contents(root, [path for tree in trees.values() for paths in tree.values() for path in paths])
    parts = {split: _file_part(tree, class_names, contents) for split, tree in trees.items()}
    skipped = tuple(sorted(path for path, content in contents.items() if content is None))
    return Listing(root.resolve().name, parts, class_names, skipped)


def _split_folders(root: Path, strays: list[str]) -> dict[str, Path]:
    """The folder of each split that is named; the whole root as "fit" where none is."""
    folders = {path.name.lower(): path for path in _visible(root) if path.is_dir()}
    split_names = {alias for aliases in ALIASES.values() for alias in aliases}
    named = split_names & folders.keys()
    others = sorted(folders.keys() - split_names)
    if not named or (others and len(named) == 1):
        return {"fit": root}  # "train" beside "truck" and "bus" is a class
    if "train" not in named or others:
        wrong = f"has also {', '.join(others)}" if others else "has no train folder"
        raise RestnetError(f"{root}: has {', '.join(sorted(named))}, but {wrong}; give train, validation and test")
    if images := _sorted_out([path for path in _visible(root) if path.is_file()], strays):
        raise RestnetError(f"{root}: {len(images)} images beside train, such as {images[0]}; move them into a split")
    of_split = {split: [folders[a] for a in aliases if a in named] for split, aliases in ALIASES.items()}
    for same in of_split.values():
        if len(same) > 1:
            raise RestnetError(f"{root}: {' and '.join(f.name for f in same)} mean the same split; keep one")
    return {split: same[0] for split, same in of_split.items() if same}


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _sorted_out(files: Iterable[Path], strays: list[str]) -> list[str]:
    """The images among the files; the others are added to ``strays``."""
    images: list[str] = []
    for path in files:
        (images if path.suffix.lower() in _SUFFIXES else strays).append(str(path))
    return images


def _tree(folder: Path, strays: list[str]) -> _Tree:
    children = _visible(folder)
    loose = _sorted_out([path for path in children if path.is_file()], strays)
    classes: _Tree = {path.name: _below(path, strays, (folder.resolve(),)) for path in children if path.is_dir()}
    if not any(classes.values()):
        return {None: loose}
    if loose:
        raise RestnetError(
            f"{folder}: {len(loose)} images beside the class folders, such as {loose[0]}; "
            "put every image into a class folder, or none"
        )
    return classes


def _below(folder: Path, strays: list[str], above: tuple[Path, ...]) -> list[str]:
    """All images at any depth; ``above`` are the real paths of the folders that hold this one."""
    real = folder.resolve()
    if real in above:
        raise RestnetError(f"{folder}: a link to a folder that it lies in, so it has no end; remove it")
    children = _visible(folder)
    images = _sorted_out([path for path in children if path.is_file()], strays)
    folders = [path for path in children if path.is_dir()]
    return images + [image for path in folders for image in _below(path, strays, (*above, real))]


def _class_names(root: Path, trees: dict[str, _Tree]) -> tuple[str, ...] | None:
    """The class folders of the training images, sorted; None for unlabelled images."""
    if not any(paths for tree in trees.values() for paths in tree.values()):
        raise RestnetError(f"{root}: no images in it ({', '.join(_SUFFIXES)}); give {_ACCEPTED}")
    labelled = [split for split, tree in trees.items() if None not in tree]
    if not labelled:
        return None
    if len(labelled) < len(trees):
        raise RestnetError(
            f"{root}: class folders in {', '.join(ALIASES[split][0] for split in labelled)} only; "
            "label every split, or none"
        )
    names = tuple(sorted(name for name in trees["fit"] if name is not None))
    if len(names) == 1:
        raise RestnetError(
            f"{root}: one class only ({names[0]}); give two or more class folders, "
            "or unlabelled images without a sub-folder"
        )
    if empty := [name for name in names if not trees["fit"][name]]:
        raise RestnetError(f"{root}: no images in class folder {', '.join(empty)}; fill it or remove it")
    for split, tree in trees.items():
        if extra := sorted(str(name) for name, paths in tree.items() if paths and name not in names):
            raise RestnetError(f"{root}: classes in {ALIASES[split][0]} only: {', '.join(extra)}")
    return names


def _contents(root: Path, paths: list[str]) -> dict[str, bytes | None]:
    """Path -> content hash, None for what does not decode; RestnetError where that is too many."""
    contents = dict(zip(paths, examine_all(paths), strict=True))
    corrupt = [path for path, content in contents.items() if content is None]
    if len(corrupt) == len(paths):
        raise RestnetError(f"{root}: none of its {len(paths)} images can be decoded, such as {corrupt[0]}")
    if len(corrupt) > _CORRUPT_LIMIT * len(paths):
        raise RestnetError(
            f"{root}: {len(corrupt)} of {len(paths)} images cannot be decoded, more than "
            f"{_CORRUPT_LIMIT:.0%}: {', '.join(corrupt[:3])}{', ...' if len(corrupt) > 3 else ''}"
        )
    return contents


def _file_part(tree: _Tree, class_names: tuple[str, ...] | None, contents: dict[str, bytes | None]) -> ImageSet:
    good = [
        (path, content, -1 if name is None or class_names is None else class_names.index(name))
        for name, paths in tree.items()
        for path in paths
        if (content := contents[path]) is not None
    ]
    labels = None if class_names is None else np.asarray([label for *_, label in good], np.int64)
    return ImageSet(Files(tuple(path for path, *_ in good)), labels, tuple(content for _, content, _ in good))
