"""Before a search: what a head on each member's features knows of the few images, and what would mend it."""

from __future__ import annotations

import numpy as np

from restnet_tf.anchors import first_look, preprocess
from restnet_tf.family import first_looks
from restnet_tf.family.first_looks import Impression, Remedies
from restnet_tf.methods.stitchnet import branches, fewshot
from restnet_tf.methods.stitchnet.composition import Composition
from restnet_tf.methods.stitchnet.fragments import FEATURES, FLOAT
from restnet_tf.methods.stitchnet.pool import PoolMember
from tflite_export.errors import TfliteError
from tflite_export.fragment import Runner, stretch

_STAGE = "a first look at the members: a classifier of the few on each one's features"


def judge(composition: Composition) -> None:
    """Say how many of the few images each has right; refuse (``RestnetError``) one at chance or asked wrongly.

    A run that was begun has been looked at.
    """
    if composition.run.record_path.exists():
        return
    branches.compile(composition)
    composition.report.stage(_STAGE)
    seen = [_look(composition, role, entry) for role, entry in composition.members.items() if entry.trained]
    first_looks.say(seen, composition.report)
    first_looks.judge(seen, _remedies(composition), composition.options.anyway, composition.report)


def _look(composition: Composition, role: str, entry: PoolMember) -> Impression:
    data, images = composition.data, composition.images(role)
    run = Runner(stretch(composition.object(role, FLOAT), None, [FEATURES]))

    def answers(mode: str) -> np.ndarray:
        given = mode == entry.preprocess
        try:
            features = run(images if given else preprocess.translated(images, entry.preprocess, mode))[0]
        except TfliteError:
            if given:
                raise
            return np.full(len(images), -1)  # values of another kind may overflow
        flat = features.reshape(len(features), -1)
        return fewshot.validated(flat, composition.labels, composition.folds).probabilities.argmax(axis=1)

    # Of a few images nobody can say which way of asking is the better one.
    modes = entry.modes if data.kind.photos and len(images) >= first_look.TELLING else ()
    return first_looks.impression(
        role, f"a head on {entry.member.name}", data, (data.fit,), answers, entry.preprocess, modes, 0
    )


def _remedies(composition: Composition) -> Remedies:
    def named(role: str, mode: str) -> str:
        words = [mode if one == role else composition.members[one].preprocess for one in composition.order]
        return f"--preprocess={','.join(words) if len(set(words)) > 1 else mode}"

    return Remedies(named, lambda role, names: "", otherwise="leave it out of the pool")
