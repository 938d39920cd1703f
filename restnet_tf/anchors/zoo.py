"""Name or file -> Anchor: Keras Applications, Vision Transformers, saved models, and weight files of the former.

Whatever the source, the result takes raw 0..255 images and is one flat functional graph with its
logits and penultimate features known; see ``applications``, ``pretrained``, ``preprocess``,
``graph`` and ``ends`` for the parts.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restnet_tf.anchors import (
    applications,
    content,
    ends,
    preprocess,
    pretrained,
    saved,
    vit,
    vit_hub,
    vit_weights,
)
from restnet_tf.graph import surgery
from restnet_tf.records import Anchor, RestnetError

if TYPE_CHECKING:
    import keras

_ALONE = " (of inspect and doctor, which take one model, --arch)"


def load(
    spec: str | Path,
    *,
    weights: str = "imagenet",
    weights_dir: Path | None = None,
    arch: str | None = None,
    preprocess: str = "none",
) -> Anchor:
    """Load an anchor by name (``MobileNetV2:alpha=0.35,input=96``, ``hub:`` and a preset) or from a file.

    ``weights`` is for names: "imagenet", "none" (random, the same for the same spec) or a weight file.
    ``arch`` names the architecture of a file that holds only weights; whether it has a classifier, and
    with how many classes, is found out from the file. ``preprocess`` (none, 0to1, -1to1, imagenet,
    caffe) is for whole-model files; named architectures bring their own. Raises RestnetError for
    whatever cannot become an anchor. Without classifier ``logits`` is None, ``features`` are pooled.
    """
    with surgery.repeatable():
        return _load(applications.parse(str(spec)), weights, weights_dir, arch, preprocess)


def _load(spec: applications.Spec, weights: str, weights_dir: Path | None, arch: str | None, mode: str) -> Anchor:
    constructors = applications.constructors()
    if (spec.base in constructors or arch is not None) and mode != "none":
        raise RestnetError(
            f"{arch or spec.base} brings its own preprocessing, so {mode!r} cannot be added; a model "
            "trained otherwise has to be saved whole (model.save) and given as a file"
        )
    if spec.base in constructors:
        if arch is not None:
            raise RestnetError(f"{spec.base} is an architecture itself; {arch!r} is for a file of weights")
        return _from_name(spec, weights, weights_dir)
    if spec.base.startswith(vit_hub.PREFIX):
        return _from_hub(spec)
    path = Path(spec.base).expanduser()
    if not path.exists():
        raise RestnetError(applications.unknown(spec.base))
    if arch is not None:
        return _from_weight_file(path, spec, applications.parse(arch))
    return _from_model_file(path, spec, mode)


def _from_name(spec: applications.Spec, weights: str, weights_dir: Path | None) -> Anchor:
    if weights not in ("imagenet", "none"):
        path = Path(weights).expanduser()
        if not path.is_file():
            raise RestnetError(f"weights {weights!r}: neither 'imagenet' nor 'none' nor a file")
        return _from_weight_file(path, spec, spec)
    if weights == "none":
        return _anchor(applications.construct(spec), spec.name, applications.mode(spec.base), spec.side)
    if vit.family(spec.base):
        model, side = _transformer(_published(spec, weights_dir), spec)
        return _anchor(model, spec.name, applications.mode(spec.base), side, _imagenet_names(weights_dir))
    with pretrained.imagenet_files(spec.base, weights_dir):
        try:
            model = applications.construct(spec, weights="imagenet")
        except applications.ConstructorError:
            if spec.side is None:
                raise
            # Keras binds a classifier's ImageNet weights to one size; resizing the graph lifts that.
            options = {k: v for k, v in spec.options.items() if k != "input"}
            model = applications.construct(replace(spec, options=options), weights="imagenet")
    with_top = spec.options.get("include_top", True)
    names = _imagenet_names(weights_dir) if with_top else None
    return _anchor(model, spec.name, applications.mode(spec.base), spec.side, names)


def _from_weight_file(path: Path, spec: applications.Spec, arch: applications.Spec) -> Anchor:
    constructors = applications.constructors()
    if arch.base not in constructors:
        raise RestnetError(applications.unknown(arch.base))
    if content.of(path) == content.ARCHIVE:
        raise RestnetError(f"{path} holds its own architecture; leave {arch.base!r} out")
    if spec is not arch:
        _only_input(spec)
        arch = replace(arch, options={**arch.options, **spec.options})
    if vit.family(arch.base):
        model, side = _transformer(path, arch)
        return _anchor(model, spec.name, applications.mode(arch.base), side)
    model = _fitted(path, arch)
    return _anchor(model, spec.name, applications.mode(arch.base), arch.side, after=_efficientnet_scale(model))


def _published(spec: applications.Spec, weights_dir: Path | None) -> Path:
    """The file of a Vision Transformer's ImageNet weights, by timm's name for it, where it lies here."""
    family = str(vit.family(spec.base))
    size = spec.base.removeprefix(family)
    if not size:
        raise RestnetError(
            f"{spec.base} has no published weights; name a size, as in {family}Tiny, or use weights 'none'"
        )
    stem = f"{family.lower()}_{size.lower()}_patch{spec.options.get('patch', 16)}_224"
    folders = pretrained.folders(weights_dir)
    for folder in folders:
        for suffix in vit_weights.SUFFIXES:
            if (folder / f"{stem}{suffix}").is_file():
                return folder / f"{stem}{suffix}"
    places = " or ".join(map(str, folders))
    raise RestnetError(
        f"{spec.base}: no weights {stem} ({', '.join(vit_weights.SUFFIXES)}) in {places}; put timm's there,"
        " or use weights 'none'"
    )


def _transformer(path: Path, arch: applications.Spec) -> tuple[keras.Model, int]:
    """Build the Vision Transformer that a file's weights belong to and fill it; its side in pixels."""
    spec = replace(arch, options={**vit.sizes(arch.base), **arch.options})
    return _filled(vit_weights.read(path), spec, path.name)


def _filled(state: vit_weights.State, spec: applications.Spec, name: str) -> tuple[keras.Model, int]:
    options = vit_weights.fitted_options(vit_weights.described(state, name), spec, name)
    model = applications.construct(applications.Spec(str(vit.family(spec.base)), options))
    vit_weights.assign(model, state, name)
    return model, options["input"]


def _from_hub(spec: applications.Spec) -> Anchor:
    preset = spec.base.removeprefix(vit_hub.PREFIX)
    state, options = vit_hub.load(preset)
    model, side = _filled(state, applications.Spec("ViT", {**options, **spec.options}), preset)
    return _anchor(model, spec.name, applications.mode("ViT"), side)


def _fitted(path: Path, arch: applications.Spec) -> keras.Model:
    """Build ``arch`` as the file's weights need it, with or without classifier, and fill it."""
    guess = pretrained.ends_in_classifier(path)
    tops = [arch.options["include_top"]] if "include_top" in arch.options else [guess, not guess]
    misfits: list[tuple[int, str]] = []
    for top in tops:
        model = applications.construct(_with(arch, include_top=top))
        match = pretrained.compare(model, path)
        if top and match.classes and "classes" not in arch.options:
            model = applications.construct(_with(arch, include_top=top, classes=match.classes))
            match = pretrained.compare(model, path)
        if not match.faults:
            pretrained.assign(model, match)
            return model
        label = f"{arch.base} with{'' if top else 'out'} classifier"
        misfits.append((match.faults, pretrained.misfit(match, path, label)))
    raise RestnetError(min(misfits)[1])


def _with(spec: applications.Spec, **options: Any) -> applications.Spec:
    return replace(spec, options={**spec.options, **options})


def _efficientnet_scale(model: keras.Model) -> dict[str, list[Any]]:
    """Give the Rescaling that Keras adds to an EfficientNet only where it loads "imagenet" itself.

    Its published weights hold the standard deviation where the layer expects the variance
    (keras ``applications/efficientnet.py``); a file whose variance is that one needs it too.
    """
    import keras
    import numpy as np

    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            stored = keras.ops.convert_to_numpy(layer.weights[1])
            if np.allclose(stored, preprocess.IMAGENET_STD, atol=1e-3):
                scale = [float(1 / np.sqrt(s)) for s in preprocess.IMAGENET_STD]
                return {layer.name: [keras.layers.Rescaling(scale, name="rescaling_std")]}
    return {}


def _only_input(spec: applications.Spec) -> None:
    other = [key for key in spec.options if key != "input"]
    if other:
        raise RestnetError(f"{spec.base}: {', '.join(other)} cannot be set for a file; only input can")


def _from_model_file(path: Path, spec: applications.Spec, mode: str) -> Anchor:
    _only_input(spec)
    _check_is_model(path)
    with surgery.repeatable():
        saving = saved.load(path)
    return _anchor(saving.model, spec.name, mode, spec.side, loss=saving.loss)


def _check_is_model(path: Path) -> None:
    kind = content.of(path)
    if kind in (content.ARCHIVE, content.SAVED_MODEL) or pretrained.holds_config(path):
        return
    if kind == content.FOLDER:
        raise RestnetError(f"{path} is a folder; expected a .keras or .h5 file (model.save('x.keras') writes one)")
    if kind == content.TFLITE:
        raise RestnetError(
            f"{path} is a .tflite file, without layers that could be trained; restnet-tf compose and restnet-tf cascade"
            " take it, and all else the model that it was made of (model.save('x.keras'))"
        )
    if pretrained.holds_weights(path):
        example = applications.likely(path.name) or "MobileNetV2:alpha=0.35"
        raise RestnetError(
            f"{path} holds weights but no architecture; name it, for example --large-arch {example}{_ALONE}"
        )
    if path.suffix in vit_weights.SUFFIXES:
        example = applications.likely(path.name) or "DeiTTiny"
        raise RestnetError(
            f"{path} may hold weights, but no architecture; name it, for example --large-arch {example}{_ALONE}"
        )
    raise RestnetError(f"{path} is not a Keras model; expected a .keras or .h5 file that model.save wrote")


def _anchor(
    model: keras.Model,
    name: str,
    mode: str,
    side: int | None,
    class_names: tuple[str, ...] | None = None,
    after: dict[str, list[Any]] | None = None,
    loss: str | None = None,
) -> Anchor:
    """Check the loaded model, lay it flat, fold the preprocessing in, and find its ends."""
    surgery.check_image_model(model, name)
    surgery.check_finite(model, name)
    batch, *sides, channels = model.inputs[0].shape
    own, shape = (*sides, channels), (*(side or own for own in sides), channels)
    if None in shape:
        what = "images" if len(own) == 3 else "signals"
        raise RestnetError(f"{name} takes {what} of any size {own}; say which, for example :input=224")
    before = preprocess.layers(mode, channels)
    resized = shape != own
    tidy = batch is None and not surgery.nested(model) and not surgery.augmented(model)
    if before or after or resized or not tidy:
        try:
            model = surgery.rebuild(model, shape, before, after)
        except (ValueError, TypeError) as error:
            size = f" at input size {shape}" if resized else ""
            raise RestnetError(f"{name} cannot be rebuilt{size}: {pretrained.first_line(error)}") from error
    parts = ends.separate(model, name, loss)
    if class_names is not None and (parts.logits is None or parts.logits.shape[-1] != len(class_names)):
        class_names = None
    return Anchor(name, parts.model, parts.logits, parts.features, class_names, surgery.fingerprint(parts.model))


def _imagenet_names(weights_dir: Path | None) -> tuple[str, ...] | None:
    """Read the ImageNet class names from Keras' own list where it lies in one of the weight folders."""
    for folder in pretrained.folders(weights_dir):
        path = folder / "imagenet_class_index.json"
        if path.is_file():
            try:
                index = json.loads(path.read_text(encoding="utf-8"))
                return tuple(index[str(i)][1] for i in range(len(index)))
            except (ValueError, KeyError, IndexError, TypeError) as error:
                raise RestnetError(f"{path} is not Keras' list of ImageNet classes; remove it") from error
    return None
