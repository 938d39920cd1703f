"""A folder of images, or of windows of signals: a sub-folder per class, folders of splits, or flat and unlabelled."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restnet_tf.data import split_names, windows
from restnet_tf.data.images import Files, content_hash, examine_all, mistaken
from restnet_tf.data.listing import ALIASES, SPLITS, ImageSet, Listing
from restnet_tf.data.values import of_array
from restnet_tf.records import RestnetError, RestnetWarning

SUFFIXES: tuple[str, ...] = (
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
SUFFIXES += (".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp")
_PHONE = (".heic", ".heif")  # photographs that no decoder here reads
_LISTS = (".csv", ".tsv")
_OTHER = "; give a folder that holds images, in sub-folders named as their classes or without labels"
# Folders that archivers and machines leave behind, and those that stand beside class folders and are none.
_LEFT_BEHIND = {"__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
_BESIDE = {"annotations", "annotation", "meta", "metadata", "labels"}
_CORRUPT_LIMIT = 0.05
_SHOWN = 3

Tree = dict[str | None, list[str]]  # class name -> image paths; None -> unlabelled ones


@dataclass(frozen=True)
class Node:
    """A folder: its images, and the folders in it, by name."""

    path: Path
    images: tuple[str, ...]
    folders: dict[str, Node]

    @property
    def every(self) -> list[str]:
        """All images at any depth."""
        return [*self.images, *(image for folder in self.folders.values() for image in folder.every)]

    @property
    def holding(self) -> dict[str, Node]:
        """The folders with images at any depth."""
        return {name: folder for name, folder in self.folders.items() if folder.holds}

    @property
    def holds(self) -> bool:
        """Whether there is any image at any depth."""
        return bool(self.images) or any(folder.holds for folder in self.folders.values())


class _Remains:
    """What was seen and is not used: files without an image suffix, folders that hold no class."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.folders: list[str] = []

    def warn(self, root: Path) -> None:
        """Say so."""
        if self.files:
            text = f"{len(self.files)} files without an image suffix left out: {_some(sorted(self.files))}"
            self._warn(f"{root}: {text}{_hint(self.files)}")
        if self.folders:
            self._warn(f"{root}: left out, as no class by its name: {_some(sorted(self.folders))}; rename it if it is")

    def _warn(self, text: str) -> None:
        warnings.warn(text, RestnetWarning, stacklevel=6)


def read(root: Path) -> Listing:
    """The images of a folder, or its windows where it holds no image but these.

    Raises RestnetError where it does not say which of them is of which class or split.
    """
    remains, others = _Remains(), _Remains()
    whole = _node(root, (), remains)
    examples = None if whole.holds else _node(root, (), others, windows.SUFFIXES)
    plain = examples is not None and _are_windows(examples)
    if examples is not None and plain:
        whole, remains = examples, others
    node = _inmost(whole)
    if node.path != root:
        warnings.warn(f"{root}: its images are in {node.path}", RestnetWarning, stacklevel=4)
    trees = {split: _tree(folder) for split, folder in _by_split(node, remains).items()}
    class_names = _class_names(root, trees, remains)
    remains.warn(root)
    paths = [path for tree in trees.values() for images in tree.values() for path in images]
    if plain:
        return Listing(root.resolve().name, _windows(str(root), trees, class_names, paths), class_names)
    contents = examined(str(root), paths)
    parts = {split: _part(tree, class_names, contents) for split, tree in trees.items()}
    skipped = tuple(sorted(path for path, content in contents.items() if content is None))
    return Listing(root.resolve().name, parts, class_names and tuple(map(printable, class_names)), skipped)


def _are_windows(node: Node) -> bool:
    """Whether files of arrays and tables are examples: a table beside no others may be a list."""
    return bool(node.holding) or any(Path(path).suffix.lower() == ".npy" for path in node.images)


def _node(folder: Path, above: tuple[Path, ...], remains: _Remains, suffixes: tuple[str, ...] = SUFFIXES) -> Node:
    """All that is in a folder; ``above`` are the real paths of the folders that hold this one."""
    real = folder.resolve()
    if real in above:
        raise RestnetError(f"{folder}: a link to a folder that it lies in, so it has no end; remove it")
    children = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    images: list[str] = []
    for path in children:
        if path.is_file():
            (images if path.suffix.lower() in suffixes else remains.files).append(str(path))
    folders = [path for path in children if path.is_dir()]
    remains.folders += [str(path) for path in folders if path.name.lower() in _LEFT_BEHIND]
    inside = [path for path in folders if path.name.lower() not in _LEFT_BEHIND]
    nodes = {path.name: _node(path, (*above, real), remains, suffixes) for path in inside}
    return Node(folder, tuple(images), _without_annotations(nodes, remains))


def _without_annotations(nodes: dict[str, Node], remains: _Remains) -> dict[str, Node]:
    """Folders without those that tell of the images in the others; a single class has none of these."""
    kept = {name: node for name, node in nodes.items() if name.lower() not in _BESIDE}
    holding = [node for node in kept.values() if node.holds]
    if len(holding) < 2 and not any(node.folders for node in holding):
        return nodes
    remains.folders += [str(node.path) for name, node in nodes.items() if name not in kept]
    return kept


def _inmost(node: Node) -> Node:
    """Where folders begin to differ: an archive often holds one folder, which holds all."""
    inner = node
    while not inner.images and len(inner.holding) == 1:
        if _splits(inner):
            return inner
        inner = next(iter(inner.holding.values()))
    return inner if len(inner.holding) > 1 else node


def _classes(split: Node) -> Node:
    """The folder of a split, or the one in it that holds the class folders, as in ``seg_train/seg_train``."""
    inner = split
    while not inner.images and len(inner.holding) == 1:
        inner = next(iter(inner.holding.values()))
    return inner if len(inner.holding) > 1 else split


def _splits(node: Node) -> dict[str, str]:
    return split_names.splits_of(node.folders)


def _by_split(node: Node, remains: _Remains) -> dict[str, Node]:
    """The folder of each split that is named; the whole as "fit" where none is."""
    named = _splits(node)
    others = sorted(name for name in node.holding if name not in named)
    if not named or (others and len(named) == 1):
        return _unnamed(node, named, others)
    others = _without_predictions(node, named, others, remains)
    if "fit" not in named.values() or others:
        wrong = f"has also {', '.join(others)}" if others else "has no train folder"
        raise RestnetError(f"{node.path}: has {', '.join(sorted(named))}, but {wrong}; give train, validation and test")
    if node.images:
        raise RestnetError(
            f"{node.path}: {len(node.images)} images beside {min(n for n in named if named[n] == 'fit')}, such as"
            f" {node.images[0]}; move them into a split"
        )
    for split in SPLITS:
        if len(same := sorted(name for name in named if named[name] == split)) > 1:
            raise RestnetError(f"{node.path}: {' and '.join(same)} mean the same split; keep one")
    return {split: _classes(node.folders[name]) for split in SPLITS for name in named if named[name] == split}


def _without_predictions(node: Node, named: dict[str, str], others: list[str], remains: _Remains) -> list[str]:
    """The other folders, where splits of class folders stand beside unlabelled images that nobody can use."""
    if "fit" not in named.values() or any(len(_classes(node.folders[name]).holding) < 2 for name in named):
        return others
    flat = [name for name in others if len(_classes(node.folders[name]).holding) < 2]
    remains.folders += [str(node.folders[name].path) for name in flat]
    return [name for name in others if name not in flat]


def _unnamed(node: Node, named: dict[str, str], others: list[str]) -> dict[str, Node]:
    """Class folders, or splits inside class folders; "train" beside "truck" and "bus" is a class."""
    if len(node.holding) > 1 and all(_holds_splits(folder) for folder in node.holding.values()):
        return _turned(node)
    for name in named:
        if len(node.folders[name].holding) > 1 and not all(node.folders[other].holding for other in others):
            raise RestnetError(
                f"{node.path}: {name} looks like a split, for it has folders of its own, and {', '.join(others)} does"
                f" not; give {node.folders[name].path} alone, or if {name} is a class, put its images directly into it"
            )
    return {"fit": node}


def _holds_splits(node: Node) -> bool:
    """Whether all that a folder holds are splits, with that of the training."""
    named = split_names.splits_of(node.holding)
    return "fit" in named.values() and len(named) == len(node.holding) and not node.images


def _turned(node: Node) -> dict[str, Node]:
    """Split -> class -> images, of class folders that hold the splits."""
    turned: dict[str, dict[str, Node]] = {}
    for label, folder in node.folders.items():
        for name, split in split_names.splits_of(folder.holding).items():
            turned.setdefault(split, {})[label] = folder.folders[name]
    return {split: Node(node.path, (), turned[split]) for split in SPLITS if split in turned}


def _tree(node: Node) -> Tree:
    if not node.holding:
        return {None: list(node.images)}
    if node.images:
        raise RestnetError(
            f"{node.path}: {len(node.images)} images beside the class folders, such as {node.images[0]}; "
            "put every image into a class folder, or none"
        )
    _check_no_splits(node)
    return {name: folder.every for name, folder in node.folders.items()}


def _check_no_splits(node: Node) -> None:
    """Refuse folders that all hold the same folders: labels would tell splits apart, and not classes."""
    inside = [set(folder.holding) for folder in node.holding.values()]
    shared = set.intersection(*inside)
    if len(inside) < 2 or len(shared) < 2 or any(2 * len(shared) < len(names) for names in inside):
        return
    names, classes = list(node.holding), sorted(shared)
    raise RestnetError(
        f"{node.path}: every sub-folder ({_some(names)}) has the same sub-folders ({_some(classes)}); these look like"
        f" splits: name them train/, validation/, test/, or give one alone, as {node.holding[names[0]].path}; if"
        f" {names[0]} is a class, put its images directly into it"
    )


def _class_names(root: Path, trees: dict[str, Tree], remains: _Remains) -> tuple[str, ...] | None:
    """The class folders of the training images, sorted; None for unlabelled images."""
    if not any(paths for tree in trees.values() for paths in tree.values()):
        raise RestnetError(f"{root}: no images in it ({', '.join(SUFFIXES)}){_hint(remains.files) or _OTHER}")
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
        lost = [path for path in remains.files if Path(path).parent.name in empty]
        raise RestnetError(f"{root}: no images in class folder {', '.join(empty)}; fill it or remove it{_hint(lost)}")
    for split, tree in trees.items():
        if extra := sorted(str(name) for name, paths in tree.items() if paths and name not in names):
            raise RestnetError(f"{root}: classes in {ALIASES[split][0]} only: {', '.join(extra)}")
    return names


def examined(where: str, paths: list[str]) -> dict[str, bytes | None]:
    """Path -> content hash, None for what does not decode; RestnetError where that is too many."""
    contents = dict(zip(paths, examine_all(paths), strict=True))
    corrupt = [path for path, content in contents.items() if content is None]
    if corrupt and len(corrupt) > _CORRUPT_LIMIT * len(paths):
        what = next((f" ({kind})" for path in corrupt[:_SHOWN] if (kind := mistaken(path))), "")
        if len(corrupt) == len(paths):
            raise RestnetError(f"{where}: none of its {len(paths)} images can be decoded, such as {corrupt[0]}{what}")
        raise RestnetError(
            f"{where}: {len(corrupt)} of {len(paths)} images cannot be decoded, more than "
            f"{_CORRUPT_LIMIT:.0%}: {_some(corrupt)}{what}"
        )
    return contents


def _windows(
    where: str, trees: dict[str, Tree], class_names: tuple[str, ...] | None, paths: list[str]
) -> dict[str, ImageSet]:
    """By split the windows of all files, which are held in memory."""
    values = of_array(where, windows.read(paths))
    contents = [content_hash(values.shape, row.tobytes()) for row in values.array]
    row_of = {path: row for row, path in enumerate(paths)}
    parts = {}
    for split, tree in trees.items():
        rows = [row_of[path] for files in tree.values() for path in files]
        names = [name for name, files in tree.items() for _ in files]
        labels = None if class_names is None else np.array([class_names.index(str(name)) for name in names], np.int64)
        parts[split] = ImageSet(values.take(rows), labels, tuple(contents[row] for row in rows))
    return parts


def printable(name: str) -> str:
    """A folder's name as text that can be written, whatever bytes the disk has for it."""
    return os.fsencode(name).decode("utf-8", "replace")


def _some(names: Iterable[str]) -> str:
    listed = [printable(name) for name in names]
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")


def _hint(files: list[str]) -> str:
    """What to do about files that hold what is looked for, in another form."""
    suffixes = [Path(path).suffix.lower() for path in files]
    if any(suffix in _PHONE for suffix in suffixes):
        return f"; {sum(s in _PHONE for s in suffixes)} are HEIC, which is not read: save them as JPEG"
    lists = [path for path, suffix in zip(files, suffixes, strict=True) if suffix in _LISTS]
    return f"; if {lists[0]} lists images and labels, give it as the data" if lists else ""


def _part(tree: Tree, class_names: tuple[str, ...] | None, contents: dict[str, bytes | None]) -> ImageSet:
    good = [
        (path, content, -1 if name is None or class_names is None else class_names.index(name))
        for name, paths in tree.items()
        for path in paths
        if (content := contents[path]) is not None
    ]
    labels = None if class_names is None else np.asarray([label for *_, label in good], np.int64)
    return ImageSet(Files(tuple(path for path, *_ in good)), labels, tuple(content for _, content, _ in good))
