"""Cached features: those of a direct pass, computed once, there whole or not at all."""

from __future__ import annotations

import resource
from concurrent.futures import ThreadPoolExecutor
from functools import cache as once
from pathlib import Path

import numpy as np
import pytest
from cached_features import filled
from networks import CLASSES, anchor, forward, images, pair, split

from restnet_tf import atomic
from restnet_tf.fitting import cache
from restnet_tf.graph import cuts
from restnet_tf.records import RestnetError

CONTENTS = {
    "large": ("0.1.out", cache.LOGITS, cache.PENULTIMATE),
    "small": (cache.INPUT, "stem", cache.LOGITS),
}


@once
def both():
    """Read by the tests that change none of their weights."""
    return pair(2, convolutions=1)[0]


def whole(folder, batches=None, n=40, contents=CONTENTS, **more):
    anchors = both()
    return anchors, filled(folder, anchors, contents, batches or cache.plain(split(n), anchors, 16), n, **more)


def test_values_are_those_of_a_direct_pass(tmp_path):
    import keras

    steps = []
    anchors, kept = whole(tmp_path / "c", progress=lambda *at: steps.append(at))
    assert steps == [(16, 40), (32, 40), (40, 40)]
    x = images(40)
    grid = kept.features("large", "0.1.out")
    assert grid.dtype == np.float16
    np.testing.assert_allclose(grid, forward(cuts.front(anchors["large"], "0.1.out"), x), rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(kept.features("small", cache.INPUT), x)
    for role, net in anchors.items():
        logits = forward(keras.Model(net.model.inputs[0], net.logits), x)
        assert kept.logits(role).dtype == np.float32
        np.testing.assert_allclose(kept.logits(role), logits, rtol=1e-4, atol=1e-4)
    features = forward(keras.Model(anchors["large"].model.inputs[0], anchors["large"].features), x)
    np.testing.assert_allclose(kept.penultimate("large"), features, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(kept.labels(), np.eye(CLASSES)[np.arange(40) % CLASSES])


def test_pieces_in_any_order_come_to_the_same_bytes(tmp_path):
    """Each written by what opened the files for itself; what is there already is not written again."""
    anchors, one_piece = whole(tmp_path / "whole")
    partial = cache.claim(tmp_path / "c", anchors, CONTENTS, CLASSES, 40)
    for start, stop in ((32, 40), (0, 32)):
        assert cache.claim(tmp_path / "c", anchors, CONTENTS, CLASSES, 40) == partial
        assert start not in cache.written(partial)
        batches = cache.plain(split(40), anchors, 16, start, stop)
        cache.write_piece(partial, cache.runs(anchors, CONTENTS), batches, 40, start)
        assert start in cache.written(partial)
    cache.publish(tmp_path / "c")
    one, other = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in (one_piece.folder, tmp_path / "c"))
    assert one == other
    assert len(one) == 7


def test_pieces_of_other_contents_are_not_gone_on_with(tmp_path):
    anchors = both()
    partial = cache.claim(tmp_path / "c", anchors, CONTENTS, CLASSES, 40)
    (partial / "left over").touch()
    cache.write_piece(partial, cache.runs(anchors, CONTENTS), cache.plain(split(40), anchors, 16, 0, 16), 40, 0)
    assert cache.written(cache.claim(tmp_path / "c", anchors, CONTENTS, CLASSES, 40)) == {0}
    assert cache.written(cache.claim(tmp_path / "c", anchors, CONTENTS, CLASSES, 41)) == set()
    assert not (partial / "left over").exists()


def test_pieces_that_are_written_at_once_come_to_the_same_bytes(tmp_path):
    """Their rows share pages, and a piece that was given up is written a second time."""
    anchors, contents = both(), {"small": (cache.INPUT,)}
    partial = cache.claim(tmp_path / "c", anchors, contents, CLASSES, 40)

    def written(start):
        batches = cache.plain(split(40), anchors, 2, start, start + 4)
        cache.write_piece(partial, {"small": lambda x: {cache.INPUT: x}}, batches, 40, start)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(written, (*range(0, 40, 4), 8, 36)))
    assert cache.written(partial) == set(range(0, 40, 4))
    cache.publish(tmp_path / "c")
    kept = cache.Cache(tmp_path / "c")
    np.testing.assert_array_equal(kept.features("small", cache.INPUT), images(40))
    np.testing.assert_array_equal(kept.labels(), np.eye(CLASSES)[np.arange(40) % CLASSES])


def test_what_was_read_of_a_file_is_no_memory_of_this_process(tmp_path):
    array = atomic.array(tmp_path / "x.npy", np.float16, (4096, 4096))
    array[:] = 1
    array.flush()
    del array

    def pages() -> int:
        return next(int(x.split()[1]) for x in Path("/proc/self/status").read_text().splitlines() if "RssFile" in x)

    mapped, before = np.load(tmp_path / "x.npy", mmap_mode="r"), pages()
    for start in range(0, 4096, 512):
        assert cache.read(mapped, slice(start, start + 512)).sum() == 512 * 4096
    assert 1024 * (pages() - before) < mapped.nbytes / 2


@pytest.fixture
def little_room():
    """Files of no more than 4 KB, as where a disk is full; that signals nothing to Python, it fails a call."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_in_a_line_and_nothing_stays(tmp_path, little_room):
    with pytest.raises(RestnetError, match=r"^no room for the cache: 0\.\d MB needed at .* free some, or give --out"):
        whole(tmp_path / "c", n=40)
    assert not list(tmp_path.iterdir())


def test_room_is_looked_for_before_any_work(tmp_path):
    def untouched():
        raise AssertionError("the images were read")
        yield

    with pytest.raises(RestnetError, match=r"^no room for the cache: \d+\.\d GB needed, .* free at "):
        whole(tmp_path / "c", untouched(), n=10**14)
    assert not list(tmp_path.iterdir())


def test_all_blocks_of_an_array_are_claimed(tmp_path):
    atomic.array(tmp_path / "x.npy", np.float32, (1000, 1000))
    assert (tmp_path / "x.npy").stat().st_blocks * 512 >= 4_000_000


def test_unlabelled_images_have_no_labels(tmp_path):
    anchors = both()
    batches = cache.plain(split(8, labelled=False), anchors)
    assert whole(tmp_path / "c", batches, 8, labels=0)[1].labels() is None


def test_a_pass_that_was_cut_short_leaves_no_folder_and_is_redone(tmp_path):
    anchors = both()

    def killed():
        yield from list(cache.plain(split(40), anchors, 16))[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        whole(tmp_path / "c", killed())
    assert not (tmp_path / "c").exists()
    _, kept = whole(tmp_path / "c")
    assert not (tmp_path / "c.partial").exists()
    assert not list(kept.folder.glob("piece.*"))
    assert (np.abs(kept.logits("large")).sum(axis=1) > 0).all()


def test_values_beyond_float16_are_clipped(tmp_path):
    anchors = {"large": anchor((6, 10), name="large")}
    anchors["large"].model.get_layer("stem.conv").bias.assign(np.full(6, 1e6, np.float32))
    kept = filled(tmp_path / "c", anchors, {"large": ("stem",)}, cache.plain(split(8), anchors), 8)
    grid = kept.features("large", "stem")
    assert np.isfinite(grid).all()
    assert (grid == np.finfo(np.float16).max).all()


def test_bytes_per_image_are_those_on_disk(tmp_path):
    anchors, kept = whole(tmp_path / "c")
    files = [np.load(p, mmap_mode="r") for p in kept.folder.iterdir() if p.name != "labels.npy"]
    assert cache.bytes_per_image(anchors, CONTENTS) == sum(f.nbytes for f in files) // 40


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(
    ("layer", "names", "content"),
    [
        ("0.0.conv2", ("stem", "0.0.add"), "the features of large [(]large[)] at 0.0.add"),
        ("logits", ("stem", cache.LOGITS), "the logits of large [(]large[)]"),
    ],
)
def test_what_is_not_finite_is_not_kept(tmp_path, value, layer, names, content):
    """Looked at where it comes from, as a ReLU further on may make zeros of it."""
    anchors = {"large": anchor((6, 10), name="large")}
    kernel = anchors["large"].model.get_layer(layer).weights[0]
    kernel.assign(np.full(kernel.shape, value, np.float32))
    with pytest.raises(RestnetError, match=f"^{content} hold NaN or infinity: its weights are broken"):
        filled(tmp_path / "c", anchors, {"large": names}, cache.plain(split(40), anchors, 16), 40)
    assert not (tmp_path / "c").exists()
