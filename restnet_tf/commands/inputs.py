"""What a user asked for, in words: the options of a command, and the images and anchors that they name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from restnet_tf.anchors import applications, demo, head, zoo
from restnet_tf.anchors.head import HeadFit
from restnet_tf.data import splits
from restnet_tf.data.splits import Data
from restnet_tf.family.family import Joint, Settings
from restnet_tf.graph import costs
from restnet_tf.progress import Reporter
from restnet_tf.records import Anchor, RestnetError
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from tflite_export import budget, lowering
from tflite_export import precision as precisions
from tflite_export.devices import devices

METHODS = ("restnet", "snnet")
ROLES = ("large", "small")
_POINTS = 8
# Options that may name a file or folder.
_PATHS = ("large", "small", "anchor", "teacher", "pool", "data", "weights", "weights_dir", "pool_dir", "plans")
_MODELS = (*ROLES, "anchor", "teacher", "pool")
_WORDS = ("digits", "imagenet", "none")  # meant so, even where a file has that name
_ORDERS = {"restnet": "both", "snnet": "small-large"}


@dataclass(frozen=True)
class Asked:
    """The options of a command, as the user gave them."""

    large: str | None = None
    small: str | None = None
    data: str | None = None
    weights: str = "imagenet"
    weights_dir: Path | None = None
    large_arch: str | None = None
    small_arch: str | None = None
    large_preprocess: str = "none"
    small_preprocess: str = "none"
    out: Path | None = None
    budget: str = ""
    precision: str = "float32,int8"
    max_points: int | None = None  # None: six for the demo, or eight; of snnet all
    order: str | None = None  # None: both; of snnet small-large
    rank_by: str = "cka"
    fine_tune: str = "auto"
    method: str = "restnet"
    anchor: tuple[str, ...] = ()
    anchor_preprocess: str = "none"
    window: int = 2
    stride: int = 1
    own: bool = False
    two_stitch: bool = False
    train: str = "stitches"
    sampling: str = "uniform"
    rank: int | None = None
    teacher: str | None = None
    effort: float | None = None  # None: enough for the demo, or 1
    plans: Path | None = None
    ship_all: bool = False
    converter: str = "link"
    recalibrate: bool = False
    uint8_input: bool = False
    lower: str = ""
    controls: bool = True
    seed: int = 0

    @property
    def demo(self) -> bool:
        """Whether no anchor was named: then two are trained."""
        return self.large is None and self.small is None and not self.anchor


@dataclass(frozen=True)
class Loaded:
    """Anchors by role in the data's label space, new classifiers that brought them there, a teacher beside them."""

    anchors: dict[str, Anchor]
    heads: tuple[HeadFit, ...]
    teacher: Anchor | None = None


def kept(asked: Any) -> dict[str, Any]:
    """The options as ``run.json`` keeps them: paths absolute, and none to the run itself, which may move."""
    return {name: _absolute(name, value) for name, value in asdict(asked).items() if name != "out"}


def _absolute(option: str, value: Any) -> Any:
    """A value that names a file or folder that is there, as it can be found from anywhere; else as it is."""
    if isinstance(value, list | tuple):
        return [_absolute(option, one) for one in value]
    if option not in _PATHS or not value or value in _WORDS:
        return value
    text = str(value)
    base = applications.parse(applications.divided(text)[0]).base if option in _MODELS else text
    path = Path(base).expanduser()
    # A folder that happens to be called like an architecture does not hide it.
    there = path.exists() if option in ("data", "weights_dir", "pool_dir") else path.is_file()
    return f"{path.absolute()}{text.removeprefix(base)}" if there else text


def recalled(kept: Mapping[str, Any], out: Path) -> Asked:
    """What ``kept`` kept."""
    paths = {name: Path(kept[name]) for name in ("weights_dir", "plans") if kept.get(name)}
    try:
        return Asked(**{**kept, **paths, "anchor": tuple(kept.get("anchor", ())), "out": out})
    except TypeError as error:
        raise RestnetError(f"{out / 'run.json'} holds options of another version: {error}") from None


def settings(asked: Asked) -> Settings:
    """What the options mean; raises the domain error of what they name."""
    wanted = tuple(p.strip() for p in asked.precision.split(",") if p.strip())
    for name in wanted or ("",):
        precisions.precision_named(name)
    lower = tuple(sorted({name for part in asked.lower.split(",") if (name := part.strip().lower())}))
    lowering.check(lower)
    terms = budget.parse(asked.budget) if asked.budget else ()
    devices.check(term.device for term in terms if term.device)
    points = asked.max_points if asked.method == "restnet" else None
    return Settings(
        order=asked.order or _ORDERS[asked.method],
        rank_by=asked.rank_by,
        max_points=points or (demo.POINTS if asked.demo else _POINTS),
        precisions=tuple(dict.fromkeys(wanted)),
        fine_tune=asked.fine_tune,
        effort=asked.effort or (demo.EFFORT if asked.demo else 1.0),
        seed=asked.seed,
        ship_all=asked.ship_all,
        converter=asked.converter,
        recalibrate=asked.recalibrate,
        uint8_input=asked.uint8_input,
        lower=lower,
        controls=asked.controls,
        budget=terms,
        plans=plans_file.read_plans(asked.plans) if asked.plans else None,
        joint=_joint(asked) if asked.method == "snnet" else None,
    )


def _joint(asked: Asked) -> Joint:
    return Joint(
        window=asked.window,
        stride=asked.stride,
        share=not asked.own,
        two_stitch=asked.two_stitch,
        train=asked.train,
        sampling=asked.sampling,
        low_rank=asked.rank,
        teacher=asked.teacher if asked.teacher in _letters(asked) else None,
        most=asked.max_points,
    )


def images(asked: Asked, report: Reporter) -> Data:
    """The images, with a word on how they are split and what was left out."""
    report.stage("reading the images")
    found = splits.load(asked.data or demo.DATA, seed=asked.seed)
    report.say(f"{found.name}: {len(found.fit)} images to fit, {len(found.rank)} to rank, {len(found.test)} to test")
    for path in found.skipped:
        report.say(f"skipped, not readable: {path}")
    return found


def anchors(asked: Asked, images: Data, report: Reporter, run: Run) -> Loaded:
    """All anchors, and the classifiers that they were given."""
    if asked.method == "restnet" and asked.demo:

        def tell(what: str, done: int, total: int) -> None:
            if done == 1:
                report.stage(what)
            report.progress(done, total)

        files = demo.anchor_files(run.anchors_path, images, asked.seed, tell)
        loaded = {role: zoo.load(str(files[role])) for role in ROLES}
    else:
        report.stage("loading the anchors")
        loaded = _by_letter(asked) if asked.method == "snnet" else {role: anchor(asked, role) for role in ROLES}
    teacher = _teacher(asked)
    everyone = [*loaded.values(), *([teacher] if teacher else [])]
    matched, heads = head.match_labels(everyone, images, asked.seed, run.load_head)
    for fitted in heads:
        report.say(
            f"{fitted.anchor}: a new head for {fitted.classes} classes, fitted on {fitted.images} images, has"
            f" {100 * fitted.rank_accuracy:.1f} % of {fitted.rank_images} rank images right"
        )
    found = dict(zip(loaded, matched, strict=False))
    return Loaded(found, heads, matched[-1] if teacher else None)


def anchor(asked: Asked, role: str) -> Anchor:
    """The large or the small anchor."""
    spec = getattr(asked, role)
    if spec is None:
        raise RestnetError(f"no {role} anchor was named; give --{role} a name or a file")
    return zoo.load(
        spec,
        weights=asked.weights,
        weights_dir=asked.weights_dir,
        arch=getattr(asked, f"{role}_arch"),
        preprocess=getattr(asked, f"{role}_preprocess"),
    )


def _letters(asked: Asked) -> tuple[str, ...]:
    return tuple(ascii_uppercase[: len(asked.anchor)])


def _by_letter(asked: Asked) -> dict[str, Anchor]:
    """The anchors of ``--anchor`` from the cheapest on; raises ``RestnetError`` where two cost the same."""
    if not 2 <= len(asked.anchor) <= len(ascii_uppercase):
        raise RestnetError(f"{len(asked.anchor)} anchors were given; give --anchor 2 to {len(ascii_uppercase)} times")
    loaded = [(a, costs.macs(costs.nodes(a.model))) for a in (_named(asked, spec) for spec in asked.anchor)]
    loaded.sort(key=lambda pair: pair[1])
    for (one, macs), (other, more) in pairwise(loaded):
        if macs == more:
            raise RestnetError(
                f"{one.name} and {other.name} cost the same, {macs / 1e6:.1f}M MACs: nothing lies between them; give"
                " anchors of different costs"
            )
    return {letter: a for letter, (a, _) in zip(_letters(asked), loaded, strict=True)}


def _teacher(asked: Asked) -> Anchor | None:
    """The model that teaches, where it is none of the anchors."""
    if asked.method != "snnet" or asked.teacher is None or asked.teacher in _letters(asked):
        return None
    return _named(asked, asked.teacher)


def _named(asked: Asked, spec: str) -> Anchor:
    """A model by name or file, or a weights file with its architecture: ``FILE@ARCH``."""
    base, arch = applications.divided(spec)
    weights, folder = asked.weights, asked.weights_dir
    return zoo.load(base, weights=weights, weights_dir=folder, arch=arch, preprocess=asked.anchor_preprocess)


def identity(asked: Asked, settings: Settings, loaded: Loaded, images: Data) -> dict[str, Any]:
    """All that decides a build's result; the run directory refuses to go on with another."""
    found: dict[str, Any] = {f"{role} anchor": _hashed(a) for role, a in loaded.anchors.items()}
    found["data"] = f"{images.name} {images.sha256[:16]}"
    if loaded.teacher is not None:
        found["teacher model"] = _hashed(loaded.teacher)
    plain = asdict(settings) | {"budget": asked.budget}
    plain |= {"method": asked.method, **joint} if (joint := plain.pop("joint")) else {}
    plain["plans"] = hashlib.sha256(asked.plans.read_bytes()).hexdigest()[:16] if asked.plans else None
    packages = ("restnet-tf", "tensorflow", "keras", "ai-edge-litert")
    return found | plain | {f"{name} version": version(name) for name in packages}


def _hashed(anchor: Anchor) -> str:
    return f"{anchor.name} {anchor.sha256[:16]}"


def default_out(asked: Asked) -> Path:
    """The run directory where none was named: by anchors and data."""
    if asked.demo:
        return Path("runs") / "demo"
    models = asked.anchor or (asked.large or "", asked.small or "")
    named = (*(applications.divided(spec)[0] for spec in models), asked.data or demo.DATA)
    words = (Path(part).name.split(":")[0].split(".")[0] for part in named)
    return Path("runs") / "-".join(words)
