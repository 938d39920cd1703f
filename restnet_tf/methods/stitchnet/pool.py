"""A pool of pretrained networks on disk: each is read and compiled once, whoever composes of it.

A member's folder is named by all that decides it: what names it, the contents of its files, the versions of what reads
them. A second user's search opens these folders alone: neither TensorFlow nor Keras is needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf import atomic
from restnet_tf.anchors import applications, preprocess, pretrained
from restnet_tf.graph import infer
from restnet_tf.methods.stitchnet import fragments
from restnet_tf.methods.stitchnet.file_members import FileMember
from restnet_tf.methods.stitchnet.fragments import FEATURES, Member
from restnet_tf.progress import Reporter
from restnet_tf.records import Anchor, RestnetError
from restnet_tf.schema import SCHEMA
from restnet_tf.work import start
from restnet_tf.work.sources import ModelSource
from tflite_export import classifier, convert
from tflite_export.fragment import Runner, stretch
from tflite_export.inputs import PHOTOS, InputKind
from tflite_export.link import Object
from tflite_export.precision import precision_named

_FORMAT = 1
_CHECKED_IMAGES = 2
# Of the largest value at a cut; the order of sums differs, no more.
_ERROR = 2e-4
_CALIBRATION_BATCH = 8


def source_of(
    text: str, weights: str = "imagenet", weights_dir: Path | None = None, preprocess: str = ""
) -> ModelSource:
    """What names a member: ``NAME``, ``FILE`` or ``FILE@ARCH``; ``preprocess`` is empty where nobody said."""
    spec, arch = applications.divided(text)
    return ModelSource(spec, weights, weights_dir, arch, preprocess)


def key(source: ModelSource) -> str:
    """Stands for all that decides the member."""
    spec = applications.parse(source.spec)
    path = Path(spec.base).expanduser()
    if path.is_file():
        contents: list[Any] = [_sha256(path)]
    elif path.is_dir():  # a SavedModel
        contents = [(str(p.relative_to(path)), _sha256(p)) for p in sorted(path.rglob("*")) if p.is_file()]
    else:
        contents = [source.weights, *_listing(pretrained.folders(source.weights_dir))]
        contents += [_sha256(Path(source.weights))] if Path(source.weights).is_file() else []
    tools = [f"{name} {version(name)}" for name in ("restnet-tf", "tensorflow", "keras")]
    # The options and the file's own name, not where it lies.
    facts = [_FORMAT, spec.name, sorted(spec.options.items()), source.arch, contents, tools]
    facts += [source.preprocess] if source.preprocess not in ("", "none") else []
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


class PoolEntry:
    """A member of a pool with its compiled objects, made where they are not there yet."""

    def __init__(self, pool: Path, source: ModelSource, report: Reporter) -> None:
        self._source, self._report = source, report
        self.preprocess = source.preprocess or "none"
        self.folder = pool / f"{applications.parse(source.spec).name}-{key(source)}"
        self.new: list[str] = []
        self._anchor: Anchor | None = None
        self._objects: dict[str, Object] = {}

    @property
    def key(self) -> str:
        """Stands for all that decides the member."""
        return self.folder.name

    @property
    def modes(self) -> tuple[str, ...]:
        """What a user can say that it expects of photos: a named architecture brings its own."""
        whole = Path(applications.parse(self._source.spec).base).expanduser().exists() and not self._source.arch
        return preprocess.usable(self.member.input_shape[-1]) if whole else ()

    @property
    def trained(self) -> bool:
        """Whether it may know anything: weights were asked for."""
        return self._source.weights != "none" or bool(self.modes)

    @property
    def integers(self) -> str:
        """None: it has no integers of its own."""
        return ""

    def takes(self, precision: str) -> bool:
        """Whether it can be a part of nets of a precision: a network in Keras is compiled to any."""
        return True

    def check(self, precision: str) -> None:
        """Nothing: there is no precision to refuse."""

    @cached_property
    def member(self) -> Member:
        """What a search needs to know; raises ``RestnetError`` where the network cannot be cut."""
        path = self.folder / "member.json"
        if not path.exists():
            self._report.stage(f"{self._source.spec}: where it can be cut")
            member = fragments.member(self._loaded())
            atomic.write_bytes(path, SCHEMA.text({"format": _FORMAT} | SCHEMA.plain(member)))
            self.new.append("cuts")
        return _read(path)

    def object(self, precision: str, images: Callable[[], np.ndarray]) -> Object:
        """The member compiled; ``images`` (raw, ``(n, h, w, c)``) calibrate integers, and check a float32 object.

        An integer object stays calibrated on the images of whoever needed it first.
        """
        if precision not in self._objects:
            path = self._object_path(precision)
            if not path.exists():
                self._report.stage(f"compiling {self.member.name} to {precision}, once for this pool")
                atomic.write_bytes(path, self._compiled(precision, images()))
                self.new.append(precision)
            whole = Object(path.read_bytes())
            whole.cuts = {**whole.cuts, FEATURES: whole.scores}
            self._objects[precision] = whole
        return self._objects[precision]

    def compiled(self, precision: str) -> bool:
        """Whether its object is there already."""
        return self._object_path(precision).exists()

    def release(self) -> None:
        """Let go of the network in Keras; what is compiled stays."""
        self._anchor = None

    def _object_path(self, precision: str) -> Path:
        return self.folder / f"object.{precision}.tflite"

    def _loaded(self) -> Anchor:
        if self._anchor is None:
            start.tensorflow(ours=False)
            self._report.stage(f"loading {self._source.spec}")
            self._anchor = replace(self._source, preprocess=self.preprocess).load()
        return self._anchor

    def _compiled(self, precision: str, images: np.ndarray) -> bytes:
        whole = fragments.trunk(self._loaded())
        tensors = fragments.tensors(whole, self.member)
        batches = (images[at : at + _CALIBRATION_BATCH] for at in range(0, len(images), _CALIBRATION_BATCH))
        kind = InputKind(photos=images.dtype == np.uint8)  # bytes are photos
        name = self.member.name
        content = convert.compile_object(whole, tensors, precision, batches, limits=kind.limits, name=name)
        if precision == "float32":
            self._check(whole, tensors, content, images[:_CHECKED_IMAGES])
        elif precision_named(precision).calibrated:
            self._report.say(
                f"{self.member.name}: {precision} calibrated on {len(images)} {kind.many}, kept for this pool"
            )
        return content

    def _check(self, whole: Any, tensors: dict[str, Any], content: bytes, images: np.ndarray) -> None:
        """Refuse an object that gives at its cuts what Keras does not."""
        import keras

        compiled = Runner(stretch(Object(content), None, list(tensors)))(images)
        # A dict, since Keras hands back a list of one as a bare tensor.
        ends = {str(i): tensor for i, tensor in enumerate(tensors.values())}
        native = infer.compiled(keras.Model(whole.inputs[0], ends))(images.astype(np.float32))
        for (number, name), values in zip(enumerate(tensors), compiled, strict=True):
            exact = np.asarray(native[str(number)])
            difference = float(np.abs(values - exact).max()) / max(float(np.abs(exact).max()), 1e-6)
            if not difference <= _ERROR:
                raise RestnetError(
                    f"{self.member.name}: compiled, it differs from Keras by {difference:.2g} of the largest value at"
                    f" {name}, above {_ERROR}; leave it out of the pool and report it"
                )


# How a member is come by: a network in Keras that is compiled for the pool, or a file as it is.
PoolMember = PoolEntry | FileMember


def opened(
    folder: Path, sources: Sequence[ModelSource], report: Reporter, kind: InputKind = PHOTOS
) -> list[PoolMember]:
    """What each source is, ``kind`` that of the data; raises the domain error for a file that cannot be used."""

    def entry(source: ModelSource) -> PoolMember:
        if classifier.is_file(source.spec):
            return FileMember(source, kind)
        return PoolEntry(folder, source, report)

    return [entry(source) for source in sources]


def by_role(entries: Iterable[PoolMember]) -> dict[str, PoolMember]:
    """Members by role, A for the cheapest; named twice, a member counts once.

    Raises the domain error for one that cannot be cut.
    """
    whole = {one.key: one for one in entries}
    members = sorted(whole.values(), key=lambda one: (one.member.features.macs_before, one.key))
    return dict(zip(_roles(len(members)), members, strict=True))


def _roles(count: int) -> list[str]:
    letters = [chr(ord("A") + i) for i in range(26)]
    return (letters + [a + b for a in letters for b in letters])[:count]


def _read(path: Path) -> Member:
    try:
        content = SCHEMA.load(dict[str, Any], path)
        content.pop("format", None)  # the folder's name has it
        return SCHEMA.read(Member, content)
    except (OSError, ValueError) as error:
        raise RestnetError(f"{path} cannot be read: {error}; delete {path.parent} and compose again") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listing(folders: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the weight files that a name may stand for."""
    files = (p for folder in folders if folder.is_dir() for p in sorted(folder.iterdir()) if p.is_file())
    return [(p.name, (stat := p.stat()).st_size, stat.st_mtime_ns) for p in files]
