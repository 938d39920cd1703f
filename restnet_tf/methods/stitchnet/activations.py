"""What a pool makes of one user's few images: activations run by LiteRT, natives on disk, the rest for a path alone."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np

from restnet_tf import atomic
from restnet_tf.graph import finite
from restnet_tf.methods.stitchnet.fragments import Fragment
from restnet_tf.progress import Reporter
from restnet_tf.records import Cut
from restnet_tf.similarity import cka
from tflite_export.fragment import Runner, stretch
from tflite_export.link import Object

# Interpreters that are held open; each has its weights once more, packed.
_OPEN = 32


class PoolActivations:
    """``compose.Activations`` of float32 objects by member; ``folder`` may be deleted at any time."""

    def __init__(self, objects: Mapping[str, Object], folder: Path, *, debiased: bool = True) -> None:
        self._objects, self._folder, self._debiased = objects, folder, debiased
        self._profiles: dict[tuple[str, str], np.ndarray] = {}
        self._runners: OrderedDict[tuple[str, int], Runner] = OrderedDict()

    def fill(
        self, pool: Mapping[str, tuple[Fragment, ...]], images: Mapping[str, np.ndarray], report: Reporter
    ) -> None:
        """Run every member once over its images, uint8 ``(n, h, w, c)``; what is there already stays.

        One process fills a folder, others that come to it meanwhile wait. Raises ``RestnetError`` where a member's
        activations are not finite.
        """
        from filelock import FileLock

        self._folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder.with_name(f"{self._folder.name}.lock")):
            if not self._folder.exists():
                self._write(pool, images, report)

    def _write(
        self, pool: Mapping[str, tuple[Fragment, ...]], images: Mapping[str, np.ndarray], report: Reporter
    ) -> None:
        partial = self._folder.with_name(self._folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        total = sum(len(x) for x in images.values())
        step = 0
        for member, fragments in pool.items():
            stops = [fragment.stop for fragment in fragments]
            run = Runner(stretch(self._objects[member], None, [stop.name for stop in stops]))
            count = len(images[member])
            files = [atomic.array(partial / _file(member, stop), np.float32, (count, *stop.shape)) for stop in stops]
            for row, image in enumerate(images[member]):
                for file, stop, values in zip(files, stops, run(image[None]), strict=True):
                    finite.check(values, finite.features(member, stop.name))
                    file[row] = values.reshape(stop.shape)
                step += 1
                report.progress(step, total)
            for file in files:
                file.flush()
        partial.rename(self._folder)

    def native(self, member: str, cut: Cut) -> np.ndarray:
        """A member's own activations at a cut ``(n, ...)``, float32, read from disk."""
        return np.load(self._folder / _file(member, cut), mmap_mode="r")

    def profile(self, member: str, cut: Cut) -> np.ndarray:
        """Their CKA profile."""
        key = member, cut.name
        if key not in self._profiles:
            self._profiles[key] = cka.profile(
                self.native(member, cut), f"{member} at {cut.name}", debiased=self._debiased
            )
        return self._profiles[key]

    def run(self, fragment: Fragment, x: np.ndarray) -> np.ndarray:
        """What a fragment makes of activations at its start ``(n, ...)``; raises ``RestnetError`` unless finite."""
        runner = self._runners.pop(fragment.key, None)
        if runner is None:
            start = fragment.start.name if fragment.start else None
            runner = Runner(stretch(self._objects[fragment.member], start, [fragment.stop.name]))
        self._runners[fragment.key] = runner
        if len(self._runners) > _OPEN:
            self._runners.popitem(last=False)
        values = runner(x)[0].reshape(len(x), *fragment.stop.shape)
        finite.check(values, finite.features(fragment.member, fragment.stop.name))
        return values


def _file(member: str, cut: Cut) -> str:
    return f"{member}.{quote(cut.name, safe='')}.npy"
