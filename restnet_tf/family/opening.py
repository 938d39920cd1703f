"""From options to a family: images read, anchors loaded and brought into one label space, settings understood."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from restnet_tf.anchors import applications, class_order, demo, head, vit_hub
from restnet_tf.anchors.pretrained import MissingWeightsError
from restnet_tf.data import cluttered, photographs, splits, tensorflow_sets
from restnet_tf.data.splits import Data
from restnet_tf.data.values import PREFIX
from restnet_tf.family import elastic, first_looks, mixing, stage_runs
from restnet_tf.family.family import TEACHER, Chosen, Family, Settings
from restnet_tf.family.first_looks import Remedies
from restnet_tf.family.options import MODEL, PATH, PATH_OF_ROLE, BuildOptions, Options
from restnet_tf.progress import Reporter
from restnet_tf.records import Anchor, RestnetError
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from restnet_tf.work import sources, tasks
from restnet_tf.work.sources import AnchorSource, DataSource, ModelSource
from restnet_tf.work.tasks import Executor
from tflite_export import budget, lowering, precision
from tflite_export.budget import Term
from tflite_export.cascades import GOES_ON
from tflite_export.devices import devices
from tflite_export.rewrites import rewritten

POINTS = 8
# What a run's name leaves out: the sources of models and data that have names, and the endings of files.
_NAMED_BY = (PREFIX, vit_hub.PREFIX, tensorflow_sets.PREFIX, "keras:")
_KINDS = "weights|float32|float16|dynamic|int8|int16x8|mixed"
_ENDING = re.compile(rf"(\.({_KINDS}))?\.(keras|hdf5|h5|tflite|safetensors|npz|npy|csv|json)$", re.IGNORECASE)
_HASHED = ", sha256 "  # between the name of an input and its hash
_GOING_ON = 2  # stages but the first of a cascade, at most
_KEYWORDS = (
    "digits",
    cluttered.NAME,
    photographs.NAME,
    "imagenet",
    "none",
)  # meant so, even where a file has that name
TOOLS = ("restnet-tf", "tensorflow", "keras", "ai-edge-litert")


def settings(options: BuildOptions, *, order: str, max_points: int = POINTS, effort: float = 1.0) -> Settings:
    """What the options mean, with the method's own where the user said nothing; raises the domain error."""
    lower = tuple(sorted({name for part in options.lower.split(",") if (name := part.strip().lower())}))
    lowering.check(lower)
    return Settings(
        order=options.order or order,
        max_points=max_points,
        precisions=precisions(options),
        cascade_precisions=cascade_precisions(options),
        cascades=options.cascades,
        effort=options.effort or effort,
        seed=options.seed,
        ship_all=options.ship_all,
        max_elastic=elastic.multiple(options.max_elastic),
        also=options.also,
        converter=options.converter,
        recalibrate=options.recalibrate,
        uint8_input=options.uint8_input,
        lower=lower,
        mixed=mixing.parse(options.mixed),
        controls=options.controls,
        budget=terms(options),
        plans=plans_file.read_plans(options.plans) if options.plans else None,
    )


def precisions(options: Options) -> tuple[str, ...]:
    """The precisions that files are wanted in; raises ``TfliteError`` for one that there is not."""
    return stage_runs.single(cascade_precisions(options))


def cascade_precisions(options: Options) -> tuple[str, ...]:
    """The same as they were asked for: a word may name one for each stage of a cascade, as ``int8>float32`` does."""
    words = tuple(dict.fromkeys(word for part in options.precision.split(",") if (word := part.strip())))
    for word in words or ("",):
        _check_precision(word)
    if precision.MIXED in stage_runs.single(words):
        _check_mixed(options)
    return words


def _check_mixed(options: Options) -> None:
    """Refuse (``RestnetError``) mixed files where they cannot be made."""
    if not isinstance(options, BuildOptions):
        raise RestnetError(
            "compose makes no mixed files; take int8 or int16x8, or restnet-tf build of two of the models"
        )
    if options.converter != "link":
        raise RestnetError("mixed files are linked of anchors compiled once; leave out --converter tf, or take int8")


def _check_precision(word: str) -> None:
    names = stage_runs.single([word])
    if len(names) > 1 and ("" in names or word.count(GOES_ON) > _GOING_ON):
        raise RestnetError(
            f"the precision {word!r} is not understood; write one for all, or one for each of two or three stages,"
            " as in int8>float32"
        )
    for name in names:
        precision.precision_named(name)


def terms(options: Options) -> tuple[Term, ...]:
    """The user's limits; raises ``TfliteError`` for one that nothing measures."""
    limits = budget.parse(options.budget) if options.budget else ()
    devices.check(term.device for term in limits if term.device)
    return limits


def images(options: Options, report: Reporter) -> Data:
    """The images, with a word on how they are split and what was left out."""
    report.stage("reading the data")
    data = splits.load(options.data or demo.DATA, seed=options.seed)
    report.say(
        f"{data.name}: {len(data.fit)} {data.kind.many} to fit, {len(data.rank)} to rank, {len(data.test)} to test"
    )
    for path in data.skipped:
        report.say(f"skipped, not readable: {path}")
    return data


def images_source(options: Options, data: Data) -> DataSource:
    """What names the images that were loaded, for any process."""
    source = DataSource(options.data or demo.DATA, options.seed, data.sha256)
    sources.remember(source, data)
    return source


def family(
    options: Chosen,
    settings: Settings,
    data: Data,
    models: Mapping[str, tuple[ModelSource, Anchor]],
    run: Run,
    report: Reporter,
    remedies: Remedies = first_looks.BY_ROLE,
    execute: Executor = tasks.serially,
) -> Family[Chosen]:
    """The loaded models in one label space; the role ``TEACHER`` is that of a model that is none of the anchors.

    Raises ``RestnetError`` for a model that answers no better than chance; ``remedies`` is in the command's words.
    """
    for _, anchor in models.values():
        check_input(anchor, data)
    _check_bytes(settings, data)
    orders = class_orders(models, data)
    models = {role: (model, ordered(anchor, orders[role], data)) for role, (model, anchor) in models.items()}
    # A run that was begun has been looked at.
    first = not run.record_path.exists()
    if first and data.labelled:
        report.stage(first_looks.STAGE)
        impressions = first_looks.of_anchors(models, data)
        first_looks.say(impressions, report)
        first_looks.judge(impressions, remedies, options.anyway, report)
    matched, heads = head.match_labels([anchor for _, anchor in models.values()], data, options.seed, run.load_head)
    for fit in heads:
        report.say(
            f"{fit.anchor}: a new head for {fit.classes} classes, fitted on {fit.images} {data.kind.many}, has"
            f" {100 * fit.rank_accuracy:.1f} % of {fit.rank_images} rank {data.kind.many} right"
        )
    anchors = dict(zip(models, matched, strict=True))
    if first and heads:
        new = [role for role, (_, loaded) in models.items() if anchors[role] is not loaded]
        seen = first_looks.of_heads(models, dict(zip(new, heads, strict=True)), data)
        first_looks.judge(seen, remedies, options.anyway, report)
    fits = iter(heads)
    named: dict[str, AnchorSource] = {}
    for (role, (model, loaded)), anchor in zip(models.items(), matched, strict=True):
        path = None if anchor is loaded else run.head_path(next(fits).key).absolute()
        order = orders[role] or None
        names = anchor.class_names if path or order else None
        named[role] = AnchorSource(model, anchor.sha256, path, names, order=order)
        sources.remember(named[role], anchor)
    images = images_source(options, data)
    teacher = anchors.pop(TEACHER, None)
    return Family(anchors, data, settings, run, options, report, named, images, teacher, heads, execute)


def loaded(models: Mapping[str, ModelSource]) -> dict[str, tuple[ModelSource, Anchor]]:
    """The models by role; one ``RestnetError`` names all files of weights that are not to be had."""
    anchors: dict[str, tuple[ModelSource, Anchor]] = {}
    missing: list[MissingWeightsError] = []
    for role, model in models.items():
        try:
            anchors[role] = model, model.load()
        except MissingWeightsError as error:
            missing.append(error)
    if missing:
        raise MissingWeightsError.of_all(missing)
    return anchors


def class_orders(models: Mapping[str, tuple[ModelSource, Anchor]], data: Data) -> dict[str, tuple[int, ...] | None]:
    """For each role which outputs stand for the data's classes, where the user said so; see ``class_order.order``."""
    return {role: class_order.order(m.classes, a, data) if m.classes else None for role, (m, a) in models.items()}


def ordered(anchor: Anchor, order: tuple[int, ...] | None, data: Data) -> Anchor:
    """The anchor with its classes in the data's order; without a classifier where they are others."""
    if order is None:
        return anchor
    return class_order.reordered(anchor, order, data.class_names) if order else replace(anchor, logits=None)


def modes(text: str, count: int) -> list[str]:
    """What each of so many models expects of images, by one word for all or one a model by commas.

    Raises ``RestnetError`` for another count of words.
    """
    named = [mode.strip() for mode in text.split(",")]
    if len(named) == 1:
        return named * count
    if len(named) != count:
        raise RestnetError(
            f"--preprocess names {len(named)} modes for {count} models; give one for all, or one a model"
        )
    return named


def check_input(anchor: Anchor, data: Data) -> None:
    """Refuse (RestnetError) a model that takes other inputs than the data have."""
    try:
        data.fit.check(anchor.input_shape)
    except RestnetError as error:
        raise RestnetError(f"{anchor.name} and {data.name} do not fit: {error}") from None


def _check_bytes(settings: Settings, data: Data) -> None:
    if settings.uint8_input and not data.kind.photos:
        raise RestnetError(f"--uint8-input is for photos, and {data.name} holds other values; leave it out")


def identity(family: Family, method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides a build's result: ``settings`` are those that the method alone has."""
    inputs: dict[str, Any] = {f"{role} anchor": hashed(a.name, a.sha256) for role, a in family.anchors.items()}
    inputs["data"] = hashed(family.data.name, family.data.sha256)
    if family.teacher is not None:
        inputs["teacher model"] = hashed(family.teacher.name, family.teacher.sha256)
    plans = family.options.plans
    digest = hashlib.sha256(plans.read_bytes()).hexdigest()[:16] if plans else None
    chosen = family.settings
    common = {
        "order": chosen.order,
        "max_points": chosen.max_points,
        "effort": chosen.effort,
        "seed": chosen.seed,
        "budget": limits(chosen.budget),
        "plans": digest,
    }
    # A run that was begun without it goes on without it.
    common |= {"max_elastic": chosen.max_elastic} if chosen.max_elastic else {}
    return inputs | common | {"method": method, **settings} | lines_of(TOOLS)


def limits(terms: Sequence[Term]) -> str:
    """What of a budget decides which plans there are; the rest only chooses among their files."""
    return ", ".join(term.text for term in terms if term.name in ("macs", "params", "flash", "ram"))


def forms(settings: Settings) -> dict[str, str]:
    """What files of each precision are made by, in words: another word, and they are made anew."""
    shared = [settings.converter, *settings.lower, *versions(TOOLS).values()]
    words = {}
    for name in settings.precisions:
        recipe = precision.precision_named(name)
        own = ["recalibrated"] if settings.recalibrate and recipe.calibrated else []
        own += rewritten.word(name)
        own += ["from bytes"] if settings.uint8_input and "uint8" in recipe.ends else []
        own += [settings.mixed.word] if name == precision.MIXED else []
        words[name] = " ".join([*shared, *own])
    return words


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of what made a result."""
    return {name: version(name) for name in packages}


def lines_of(packages: Sequence[str]) -> dict[str, str]:
    """Of what a fit may depend on: versions without their patch, which mends and changes no result."""
    return {f"{name} version": ".".join(value.split(".")[:2]) for name, value in versions(packages).items()}


def kept(method: str, options: Options) -> dict[str, Any]:
    """Options as ``run.json`` keeps them: paths absolute, and none to the run itself, which may move."""
    values = {f.name: _absolute(f.metadata.get("names", ""), getattr(options, f.name)) for f in fields(options)}
    return {"method": method, **{name: value for name, value in values.items() if name != "out"}}


def inputs(options: Options) -> tuple[Path, ...]:
    """The files and folders that options name, as far as they are there: models, data, weights."""
    named: list[Path] = []
    for f in fields(options):
        value = getattr(options, f.name)
        for one in value if isinstance(value, list | tuple) else [value]:
            named += _places(f.metadata.get("names", ""), str(one)) if f.name != "out" and one else []
    return tuple(dict.fromkeys(path for path in named if path.is_absolute() and path.exists()))


def _places(kind: str, text: str) -> list[Path]:
    if not kind:
        return []
    if kind == PATH_OF_ROLE["names"]:
        text = text.partition("=")[2]
    if kind == MODEL["names"]:
        text = applications.parse(applications.divided(text)[0]).base
    return [Path(text.removeprefix(PREFIX))]


def default_out(models: Sequence[str], data: str | None) -> Path:
    """The run directory where none was named: by anchors and data."""
    return Path("runs") / "-".join((*map(run_word, models), run_word(data or photographs.NAME)))


def run_word(spec: str) -> str:
    """What a run is called after a model or data: a file without its ending, a name without what it is asked for."""
    base, _ = applications.divided(spec)
    for source in _NAMED_BY:
        base = base.removeprefix(source)
    name = Path(base).name or Path(base).resolve().name
    return _ENDING.sub("", name.split(":")[0])


def hashed(name: str, sha256: str) -> str:
    """An input as a run keeps it and a person reads it."""
    return f"{name}{_HASHED}{sha256[:16]}"


def content_of(kept: str) -> str:
    """What stands for the content of an input that a run keeps: equal where that is, whatever it is called."""
    return kept.rpartition(_HASHED)[2]


def _absolute(kind: str, value: Any) -> Any:
    """A value that names a file or folder that is there, as it can be found from anywhere; else as it is."""
    if isinstance(value, list | tuple):
        return [_absolute(kind, one) for one in value]
    if kind == PATH_OF_ROLE["names"]:
        role, _, place = str(value).partition("=")
        return f"{role}={_absolute(PATH['names'], place)}"
    keyword = value in _KEYWORDS  # as text; a path of such a name is a path
    if isinstance(value, Path):
        value = str(value)
    if not kind or not value or keyword:
        return value
    if value.startswith(PREFIX):
        return f"{PREFIX}{_absolute(kind, value.removeprefix(PREFIX))}"
    base = applications.parse(applications.divided(value)[0]).base if kind == MODEL["names"] else value
    path = Path(base).expanduser()
    # A folder that happens to be called like an architecture does not hide it.
    is_model = path.is_file() or (path / "saved_model.pb").is_file()
    there = is_model if kind == MODEL["names"] else path.exists()
    return f"{path.absolute()}{value.removeprefix(base)}" if there else value
