"""Data sets of tensorflow-datasets by name, kept encoded in memory as its files hold them."""

from __future__ import annotations

from typing import Any

import numpy as np

from restnet_tf.data import split_names
from restnet_tf.data.arrays import one_line
from restnet_tf.data.images import Encoded, content_hash, decode
from restnet_tf.data.listing import ImageSet, Listing
from restnet_tf.records import RestnetError

PREFIX = "tfds:"


def read(spec: str) -> Listing:
    """The set ``tfds:NAME``: its splits, images and labels; RestnetError where it has none, or cannot be had."""
    name = spec.removeprefix(PREFIX)
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise RestnetError(f"{spec} needs tensorflow-datasets: pip install 'restnet-tf[tfds]'") from None
    try:
        builder = tfds.builder(name)
        builder.download_and_prepare()
    except Exception as error:  # of many kinds: no such set, no network, a checksum
        raise RestnetError(f"{spec}: not here, and it cannot be prepared ({one_line(error)[:300]})") from error
    features = builder.info.features
    if not {"image", "label"} <= set(features or ()):
        raise RestnetError(f"{spec}: it has {', '.join(features or ())}; an image and a label are needed")
    named = split_names.splits_of(builder.info.splits)
    skip = {"image": tfds.decode.SkipDecoding()}
    parts: dict[str, ImageSet] = {}
    for given, split in named.items():
        if split not in parts:
            parts[split] = _part(tfds.as_numpy(builder.as_dataset(split=given, decoders=skip)))
    if "fit" not in parts:
        raise RestnetError(f"{spec}: its splits are {', '.join(builder.info.splits)}; one of them must be train")
    return Listing(builder.name, parts, tuple(features["label"].names))


def _part(examples: Any) -> ImageSet:
    raw, labels, contents = [], [], []
    for example in examples:
        raw.append(bytes(example["image"]))
        labels.append(int(example["label"]))
        image = decode(raw[-1])
        contents.append(content_hash(image.size, image.tobytes()))
    return ImageSet(Encoded(tuple(raw)), np.asarray(labels, np.int64), tuple(contents))
