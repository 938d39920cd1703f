"""Vision Transformers: the graph against arithmetic by hand, surgery, published weights, stitches of tokens."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import keras
import needs
import numpy as np
import paths
import pytest
from networks import forward

from restnet_tf.anchors import applications, vit, vit_weights, zoo
from restnet_tf.data.images import Pixels
from restnet_tf.data.splits import Split
from restnet_tf.graph import costs, cuts
from restnet_tf.records import Anchor, Layout, Piece, Plan, RestnetError, Stitch
from restnet_tf.similarity import features
from restnet_tf.stitches import closed_form, stitch, variant
from tflite_export.convert import convert
from tflite_export.divergence import divergence
from tflite_export.verify import run

SHARED = paths.SHARED
DEIT = SHARED / "anchors" / "deit_tiny_patch16_224.npz"
HEADS = 2


def network(side: tuple[int, int] = (8, 12), *, width: int = 8, depth: int = 2, pooling: str = "token", **more):
    model = vit.network(
        input_shape=(*side, 3), classes=5, patch=4, width=width, depth=depth, heads=HEADS, pooling=pooling, **more
    )
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(1 if "gamma" in weight.path else 0, 0.3, weight.shape))
    return model


@cache
def anchor(**options) -> Anchor:
    model = network(**options)
    logits = model.get_layer("head").output
    return Anchor("vit", model, logits, model.get_layer("head").input, None, "sha")


def images(n: int = 6, side: tuple[int, int] = (8, 12)) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (n, *side, 3)).astype(np.float32)


def test_the_embedding_alone_is_linear() -> None:
    for pooling in ("token", "mean"):
        assert [cut.name for cut in cuts.find(network(pooling=pooling)) if cut.linear] == ["patches", "embed"]
    # And no other cut is one because of how its tokens were embedded.
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 2, strides=2, activation="relu", name="first")(image)
    x = keras.layers.Conv2D(4, 3, padding="same", name="second")(x)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    assert not any(cut.linear for cut in cuts.find(model))


# --- the graph -------------------------------------------------------------------------------------


def by_hand(state: dict[str, np.ndarray], x: np.ndarray, heads: int, *, mean: bool) -> np.ndarray:
    """Logits of timm's VisionTransformer, written out in float64; a patch of 4."""
    n, h, w, c = x.shape
    patches = x.reshape(n, h // 4, 4, w // 4, 4, c).transpose(0, 1, 3, 5, 2, 4).reshape(n, -1, c * 16)
    kernel = state["patch_embed.proj.weight"].reshape(-1, c * 16)
    t = patches.astype(np.float64) @ kernel.T + state["patch_embed.proj.bias"]
    if not mean:
        t = np.concatenate([np.broadcast_to(state["cls_token"], (n, 1, t.shape[2])), t], axis=1)
    t = t + state["pos_embed"]

    def dense(y, name):
        return y @ state[f"{name}.weight"].T.astype(np.float64) + state[f"{name}.bias"]

    def norm(y, name):
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
        return y * state[f"{name}.weight"] + state[f"{name}.bias"]

    def erf(y):
        from math import erf as of

        return np.vectorize(of)(y)

    depth = sum(name.endswith("norm1.weight") for name in state)
    for i in range(depth):
        block = f"blocks.{i}"
        q, k, v = np.split(dense(norm(t, f"{block}.norm1"), f"{block}.attn.qkv"), 3, axis=-1)
        q, k, v = (y.reshape(n, y.shape[1], heads, -1).transpose(0, 2, 1, 3) for y in (q, k, v))
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = (weights @ v).transpose(0, 2, 1, 3).reshape(n, t.shape[1], -1)
        t = t + dense(mixed, f"{block}.attn.proj")
        wide = dense(norm(t, f"{block}.norm2"), f"{block}.mlp.fc1")
        t = t + dense(0.5 * wide * (1 + erf(wide / np.sqrt(2))), f"{block}.mlp.fc2")
    t = norm(t, "norm")
    return dense(t.mean(axis=1) if mean else t[:, 0], "head")


def state_of(places: int, *, width: int = 8, depth: int = 2, mean: bool = False, classes: int = 5):
    rng = np.random.default_rng(2)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    state = {"patch_embed.proj.weight": draw(width, 3, 4, 4), "patch_embed.proj.bias": draw(width)}
    if not mean:
        state["cls_token"] = draw(1, 1, width)
    state["pos_embed"] = draw(1, places + (not mean), width)
    for i in range(depth):
        for name, out, given in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            state |= {f"blocks.{i}.{name}.weight": draw(out, given), f"blocks.{i}.{name}.bias": draw(out)}
        for name in ("norm1", "norm2"):
            state |= {f"blocks.{i}.{name}.weight": 1 + draw(width), f"blocks.{i}.{name}.bias": draw(width)}
    state |= {"norm.weight": 1 + draw(width), "norm.bias": draw(width)}
    return state | {"head.weight": draw(classes, width), "head.bias": draw(classes)}


@pytest.mark.parametrize("mean", [False, True])
def test_a_network_with_weights_computes_what_is_written_out(mean):
    state, x = state_of(9, mean=mean), images(3, (12, 12))
    model = network((12, 12), pooling="mean" if mean else "token")
    vit_weights.assign(model, state, "x.npz")
    logits = keras.Model(model.input, model.get_layer("head").output)
    np.testing.assert_allclose(forward(logits, x), by_hand(state, x, HEADS, mean=mean), atol=2e-5)


def test_sizes_that_do_not_go_together():
    for wrong, what in (({"patch": 5}, "patches of 5x5"), ({"heads": 5}, "5 heads"), ({"pooling": "max"}, "'max'")):
        with pytest.raises(RestnetError, match=what):
            vit.network(**{"input_shape": (8, 12, 3), "patch": 4, "width": 8, "heads": 2, **wrong})


@pytest.mark.parametrize("side", [32, 96])
def test_small_ones_come_by_name(side):
    small = zoo.load(f"ViTTiny:input={side},patch={side // 8},classes=10", weights="none")
    assert (small.input_shape, small.classes) == ((side, side, 3), 10)
    found = cuts.find(small.model)
    assert len(found) == 27  # the patches, the embedding, two a block, the norm
    assert {c.layout.classes for c in found if c.kind == "tokens"} == {1}
    assert {c.grid for c in found if c.kind == "tokens"} == {(8, 8)}


def test_published_sizes():
    """Parameters and MACs that the DeiT paper's table and timm state: 5.7M and 1.26G, 22M and 4.6G, 86M and 17.6G."""
    for name, params, giga in (
        ("DeiTTiny", 5_717_416, 1.26),
        ("ViTSmall", 22_050_664, 4.61),
        ("ViTBase", 86_567_656, 17.58),
    ):
        with keras.StatelessScope(initialize_variables=False):  # shapes are enough
            calls = costs.nodes(applications.construct(applications.parse(name)))
        # timm's class token and its position are two rows, which are only ever added: one of ours.
        assert costs.params(calls) == params - {"DeiTTiny": 192, "ViTSmall": 384, "ViTBase": 768}[name]
        assert costs.macs(calls) / 1e9 == pytest.approx(giga, abs=0.02)


# --- surgery ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["token", "mean"])
def test_front_then_back_is_the_whole_at_every_cut(pooling):
    whole, x = anchor(pooling=pooling), images()
    expected = forward(whole.model, x)
    found = cuts.find(whole.model)
    assert [c.name for c in found if c.kind == "tokens"] == [
        "embed", "block1.attention", "block1.out", "block2.attention", "block2.out", "norm"
    ]  # fmt: skip
    assert {(c.grid, c.layout.classes) for c in found if c.kind == "tokens"} == {((2, 3), int(pooling == "token"))}
    for cut in found:
        np.testing.assert_array_equal(
            forward(cuts.back(whole, cut.name), forward(cuts.front(whole, cut.name), x)), expected
        )


@pytest.mark.parametrize("pooling", ["token", "mean"])
def test_an_identity_stitch_gives_the_anchor_back_at_every_cut(pooling):
    """The last norm too: the code published with SN-Net skips it in stitched DeiTs."""
    whole, x = anchor(pooling=pooling), images()
    expected = forward(whole.model, x)
    for cut in cuts.find(whole.model):
        if cut.kind == "vector":
            continue
        eye = Stitch(np.eye(8, dtype="f4"), np.zeros(8, "f4"), cut.layout, cut.layout, cut.clamp)
        plan = Plan("x", (Piece("large", None, cut.name), Piece("small", cut.name, None)), 0, 0, 0, 0)
        model = variant.assemble(plan, {"large": whole, "small": whole}, eye)
        np.testing.assert_allclose(forward(model, x), expected, atol=1e-6)
        assert "norm" in [layer.name for layer in cuts.back(whole, cut.name).layers] or cut.name == "norm"


# --- stitches of tokens ----------------------------------------------------------------------------


def draw(*shape: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def tokens(grid: tuple[int, int], channels: int, classes: int = 1) -> Layout:
    return Layout((grid[0] * grid[1] + classes, channels), grid)


def made(source: Layout, target: Layout, clamp: tuple = (None, None)) -> Stitch:
    """A stitch of drawn weights with every part that its ends ask for."""
    parts = {}
    if stitch.places(source, target) > 1:
        parts["positions"] = draw(target.size[0] * target.size[1], target.channels, seed=5)
    if stitch.pooled_class(source, target):
        parts["class_kernel"] = draw(source.channels, target.channels, seed=6)
        parts["class_bias"] = draw(target.channels, seed=7)
    return Stitch(draw(source.channels, target.channels), draw(target.channels, seed=4), source, target, clamp, parts)


def class_token(given: Stitch, mean: np.ndarray) -> np.ndarray:
    return mean @ given.parts["class_kernel"] + given.parts["class_bias"]


def test_tokens_to_tokens_is_one_map_for_all_of_them():
    given, x = made(tokens((2, 3), 4), tokens((2, 3), 5)), draw(2, 7, 4)
    np.testing.assert_allclose(forward(stitch.build(given), x), x @ given.kernel + given.bias, atol=1e-5)


def test_grid_to_tokens_by_hand():
    """Two by two pixels become four tokens, each with its position's bias, behind a class token of their mean."""
    given, x = made(Layout((2, 2, 3)), tokens((2, 2), 2)), draw(1, 2, 2, 3)
    found = forward(stitch.build(given), x)[0]
    pixels = [x[0, 0, 0], x[0, 0, 1], x[0, 1, 0], x[0, 1, 1]]
    np.testing.assert_allclose(found[0], class_token(given, np.mean(pixels, axis=0)), atol=1e-5)
    for place, pixel in enumerate(pixels):
        expected = pixel @ given.kernel + given.bias + given.parts["positions"][place]
        np.testing.assert_allclose(found[1 + place], expected, atol=1e-5)


def test_tokens_to_grid_leaves_the_class_token_out():
    given, x = made(tokens((2, 3), 3), Layout((2, 3, 2)), (0.0, None)), draw(1, 7, 3)
    found = forward(stitch.build(given), x)[0]
    for row in range(2):
        for column in range(3):
            token = x[0, 1 + 3 * row + column]
            np.testing.assert_allclose(found[row, column], np.maximum(token @ given.kernel + given.bias, 0), atol=1e-5)


def test_another_token_grid_is_pooled_and_the_class_token_kept():
    given, x = made(tokens((4, 2), 3), tokens((2, 1), 5)), draw(1, 9, 3)
    found = forward(stitch.build(given), x)[0]
    grid = x[0, 1:].reshape(4, 2, 3)
    rows = [x[0, 0], grid[:2].mean(axis=(0, 1)), grid[2:].mean(axis=(0, 1))]
    np.testing.assert_allclose(found, np.array(rows) @ given.kernel + given.bias, atol=1e-5)


ENDS = {
    "grid, class": (Layout((4, 6, 3)), tokens((2, 3), 5)),
    "grid, none": (Layout((4, 6, 3)), tokens((2, 3), 5, classes=0)),
    "grid, wider": (Layout((3, 5, 3)), tokens((4, 4), 5)),
    "class, grid": (tokens((3, 5), 3), Layout((3, 5, 4))),
    "none, grid": (tokens((3, 5), 3, classes=0), Layout((5, 7, 4))),
    "class, none": (tokens((2, 3), 3), tokens((2, 3), 5, classes=0)),
    "none, class": (tokens((2, 3), 3, classes=0), tokens((2, 3), 5)),
    "class, class": (tokens((3, 3), 3), tokens((5, 4), 5)),
    "unknown": (Layout((7, 3)), Layout((7, 5))),
}


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_the_model_is_what_its_parts_say(ends):
    given, x = made(*ends), draw(2, *ends[0].shape)
    model = stitch.build(given)
    found = forward(model, x)
    assert found.shape[1:] == ends[1].shape
    np.testing.assert_allclose(stitch.goal(found, *ends), stitch.delivered(given, x), atol=1e-4)
    calls = costs.nodes(model)
    assert stitch.macs(*ends) == costs.macs(calls)
    assert stitch.params(*ends) == costs.params(calls)
    trained = stitch.trained(given, model)
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(getattr(trained, name), getattr(given, name))
    assert set(trained.parts) == set(given.parts)
    for name, values in given.parts.items():
        np.testing.assert_array_equal(trained.parts[name], values)


def unlike_pair() -> tuple[dict[str, Anchor], dict]:
    rng = np.random.default_rng(5)
    x = inputs = keras.Input((8, 12, 3))
    for width, stride in ((6, 2), (8, 2), (7, 1)):
        x = keras.layers.Conv2D(width, 3, strides=stride, padding="same", activation="relu", name=f"conv{width}")(x)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    logits = keras.layers.Dense(5)(pooled)
    model = keras.Model(inputs, logits)
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    anchors = {"large": anchor(), "small": Anchor("cnn", model, logits, pooled, None, "sha")}
    return anchors, {role: cuts.find(a.model) for role, a in anchors.items()}


def test_closed_forms_of_unlike_pairs_are_least_squares(monkeypatch):
    """Every map, position and class token of a pass, against NumPy's least squares on all features at once."""
    monkeypatch.setattr(closed_form, "RIDGE", 1e-9)
    anchors, cut_lists = unlike_pair()
    raw = np.random.default_rng(6).integers(0, 3, (96, 8, 12, 3), np.uint8)
    found = features.collect(anchors, cut_lists, Split("fit", Pixels(raw, np.arange(96)), None))
    values = {
        (role, cut.name): forward(cuts.front(anchors[role], cut.name), raw.astype(np.float32))
        for role, places in cut_lists.items()
        for cut in places
    }
    kinds = set()
    for key, solution in found.solutions.items():
        source, i, j = key
        a, b = cut_lists[source][i], cut_lists[features.other(source)][j]
        xs, ys = values[source, a.name], values[features.other(source), b.name]
        x, y = stitch.adapted(xs, a.layout, b.layout), stitch.goal(ys, a.layout, b.layout)
        count = stitch.places(a.layout, b.layout)
        places = (
            np.eye(count)[np.tile(np.arange(x.shape[1]), 96)] if count > 1 else np.ones((x.shape[0] * x.shape[1], 1))
        )
        design = np.c_[x.reshape(-1, x.shape[-1]), places].astype(np.float64)
        fitted = np.linalg.lstsq(design, y.reshape(-1, y.shape[-1]).astype(np.float64), rcond=1e-5)[0]
        error = np.square(design @ fitted - y.reshape(-1, y.shape[-1])).sum()
        start = features.initial(key, cut_lists, found)
        ours = np.square(stitch.delivered(start, xs) - y).sum()
        assert ours <= error * 1.001 + 1e-6 * np.square(y).sum()
        if solution.pooled is not None:
            mean = np.c_[xs.reshape(96, -1, xs.shape[-1]).mean(axis=1), np.ones(96)].astype(np.float64)
            best = mean @ np.linalg.lstsq(mean, ys[:, 0].astype(np.float64), rcond=1e-5)[0]
            token = class_token(start, mean[:, :-1])
            assert (
                np.square(token - ys[:, 0]).sum()
                <= 1.001 * np.square(best - ys[:, 0]).sum() + 1e-6 * np.square(ys[:, 0]).sum()
            )
        kinds.add((a.kind, b.kind, solution.pooled is not None, count > 1))
    assert kinds == {("grid", "grid", False, False), ("grid", "tokens", True, True), ("tokens", "grid", False, False)}


# --- published weights -----------------------------------------------------------------------------


def spec_of(path: Path, arch: str = "ViT:heads=2") -> Anchor:
    return zoo.load(str(path), arch=arch)


def written(path: Path, state: dict[str, np.ndarray]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **state)
    elif path.suffix == ".safetensors":
        needs.SAFETENSORS.or_skip()
        from safetensors.numpy import save_file

        save_file(state, path)
    else:
        needs.TORCH.or_skip()
        import torch

        torch.save({"model": {name: torch.tensor(value) for name, value in state.items()}}, path)
    return path


@pytest.mark.parametrize("suffix", vit_weights.SUFFIXES)
def test_a_state_dict_becomes_an_anchor_of_raw_images(tmp_path, suffix):
    state = state_of(4)
    found = spec_of(written(tmp_path / f"small{suffix}", state))
    assert (found.name, found.input_shape, found.classes) == ("small", (8, 8, 3), 5)
    raw = np.random.default_rng(1).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)
    logits = forward(keras.Model(found.model.input, found.logits), raw)
    np.testing.assert_allclose(logits, by_hand(state, raw / 127.5 - 1, HEADS, mean=False), atol=1e-4)


def test_positions_are_resampled_for_another_input(tmp_path):
    """A table that is linear along the rows stays so between its outer places."""
    state = state_of(16)
    state["pos_embed"][0, 1:] = np.repeat(np.arange(4, dtype=np.float32), 4)[:, None]
    found = spec_of(written(tmp_path / "x.npz", state), "ViT:heads=2,input=32")
    (table,) = found.model.get_layer("embed").get_weights()
    rows = table[1:].reshape(8, 8, 8)[:, 0, 0]
    np.testing.assert_allclose(rows[3:5], [1.25, 1.75], atol=0.05)
    np.testing.assert_allclose(table[0], state["cls_token"][0, 0] + state["pos_embed"][0, 0], atol=1e-6)


def without(*names: str) -> dict[str, np.ndarray]:
    return {name: value for name, value in state_of(4).items() if name not in names}


@pytest.mark.parametrize(
    ("state", "arch", "said"),
    [
        (without("pos_embed"), "ViT", "no weights of a ViT by timm's names: pos_embed"),
        (without() | {"dist_token": np.zeros((1, 1, 8), "f4")}, "ViT", "distilled DeiT with two class tokens"),
        (
            without() | {"fc_norm.weight": np.zeros(8, "f4")},
            "ViT:heads=2",
            "fc_norm.weight have no place in a plain ViT",
        ),
        (without(), "DeiTTiny", "width=8, not width=192"),
        (without(), "ViT:heads=2,depth=3", "depth=2, not depth=3"),
        (without() | {"norm.weight": np.ones(9, "f4")}, "ViT:heads=2", "another architecture: norm"),
        (state_of(6), "ViT:heads=2", "not square; say the size"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, state, arch, said):
    with pytest.raises(RestnetError, match=said):
        spec_of(written(tmp_path / "x.npz", state), arch)


@pytest.mark.parametrize("suffix", [*vit_weights.SUFFIXES, ".bin"])
def test_files_that_are_no_weights_are_refused(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"not weights at all")
    with pytest.raises(RestnetError, match=r"cannot be read|no \.npz|come as one of|needs|weights alone"):
        spec_of(path)


def test_a_pickle_that_would_run_code_is_not_loaded(tmp_path):
    needs.TORCH.or_skip()
    import torch

    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"model": Trap()}, tmp_path / "x.pth")
    with pytest.raises(RestnetError, match="no PyTorch file of weights alone"):
        spec_of(tmp_path / "x.pth")
    assert not (tmp_path / "ran").exists()


def test_published_weights_come_from_the_weights_folder(tmp_path):
    with pytest.raises(RestnetError, match=r"no weights vit_tiny_patch16_224 .* put timm's there"):
        zoo.load("ViTTiny", weights_dir=tmp_path)
    with pytest.raises(RestnetError, match="name a size, as in DeiTTiny"):
        zoo.load("DeiT", weights_dir=tmp_path)
    with pytest.raises(RestnetError, match="no architecture; name it, for example --large-arch DeiTTiny"):
        zoo.load(str(written(tmp_path / "x.npz", state_of(4))))


needs_deit = needs.beside(f"anchors/{DEIT.name}").mark


@cache
def sample() -> tuple[np.ndarray, np.ndarray]:
    """Every tenth of the sample's images, centre-cropped ``(50, 224, 224, 3)``, and their classes."""
    from PIL import Image

    images, classes = [], []
    for file in sorted((SHARED / "data" / "imagenet_sample").glob("*"))[::10]:
        image = Image.open(file).convert("RGB")
        scale = 224 / min(image.size)
        image = image.resize([round(scale * side) for side in image.size], Image.Resampling.BICUBIC)
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        images.append(np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32))
        classes.append(int(file.name[:4]))
    return np.stack(images), np.array(classes)


@cache
def deit() -> tuple[keras.Model, np.ndarray]:
    """DeiT-Tiny with its published weights, and the probabilities that it sees in the sample's images."""
    model = zoo.load("DeiTTiny", weights_dir=DEIT.parent).model
    return model, forward(model, sample()[0])


@pytest.mark.slow
@needs_deit
def test_published_deit_tiny_answers_as_published():
    """72.2 % is published, of all of ImageNet's validation images, which are harder than these."""
    right = (deit()[1].argmax(1) == sample()[1]).mean()
    print(f"DeiT-Tiny: {right:.1%} of {len(sample()[1])} right")
    assert right > 0.75


@pytest.mark.slow
@needs_deit
@pytest.mark.parametrize(
    ("precision", "least", "most", "calibrated", "tried"),
    [
        ("float32", 1.0, 1e-6, slice(1), slice(None, None, 2)),
        ("int8", 0.9, 0.06, slice(1, 35, 4), slice(None, None, 2)),
        # Its kernels take half a second an image, and its steps are too fine to hang on the images that set them.
        ("int16x8", 0.97, 0.003, slice(1, None, 14), slice(None, None, 6)),
    ],
    ids=["float32", "int8", "int16x8"],
)
def test_published_deit_tiny_in_tflite(precision, least, most, calibrated, tried):
    """By the KL of its answers, in nats: that tells more of an image than whether its class stays."""
    (model, answers), (x, classes) = deit(), sample()
    outputs, exact = run(convert(model, precision, [x[calibrated]]), [x[tried]]), answers[tried]
    found, kl = outputs.scores.argmax(1), divergence(outputs.logits, np.log(exact)).mean()
    same = (found == exact.argmax(1)).mean()
    print(
        f"DeiT-Tiny {precision}: {(found == classes[tried]).mean():.1%} of {len(found)} right, {same:.1%} as in Keras,"
        f" KL {kl:.2g}"
    )
    assert same >= least
    assert kl < most


def hub_classifier(**options):
    needs.KERAS_HUB.or_skip()
    import keras_hub as hub

    keras.utils.set_random_seed(3)
    sizes = {"patch_size": 4, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 32}
    backbone = hub.models.ViTBackbone(image_shape=(8, 8, 3), layer_norm_epsilon=1e-3, **sizes)
    model = hub.models.ViTImageClassifier(backbone, num_classes=5, **options)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.dtype == "float32":
            weight.assign(rng.normal(1 if "gamma" in weight.path else 0, 0.3, weight.shape))
    return model


@pytest.mark.slow
def test_a_keras_hub_preset_becomes_an_anchor_of_raw_images(tmp_path):
    """From a folder, as there is no network; a name goes the same way."""
    theirs = hub_classifier()
    theirs.save_to_preset(tmp_path / "preset")
    found = zoo.load(f"hub:{tmp_path / 'preset'}")
    raw = np.random.default_rng(1).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)
    logits = forward(keras.Model(found.model.input, found.logits), raw)
    np.testing.assert_allclose(logits, forward(theirs, raw / 127.5 - 1), atol=1e-4)
    assert len(cuts.find(found.model)) == 7


@pytest.mark.slow
def test_presets_that_are_none_are_refused(tmp_path):
    hub_classifier(pooling="gap").save_to_preset(tmp_path / "preset")
    with pytest.raises(RestnetError, match="a ViT that reads its class token is needed"):
        zoo.load(f"hub:{tmp_path / 'preset'}")
    with pytest.raises(RestnetError, match="keras-hub cannot load"):
        zoo.load(f"hub:{tmp_path / 'nothing'}")


def test_a_saved_vit_is_loaded_again(tmp_path):
    model, x = network((8, 8)), images(2, (8, 8))
    model.save(tmp_path / "own.keras")
    found = zoo.load(str(tmp_path / "own.keras"))
    np.testing.assert_allclose(forward(found.model, x), forward(model, x), atol=1e-6)
    assert cuts.find(found.model)[1].grid == (2, 2)
