"""From a finished run to what one flashes or ships: the files of a target, and why points were refused."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import points
from benchmarks.points import CONTROL, SHIPPED, File, OperatingPoint
from restnet_tf import runs
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError
from restnet_tf.runs import Run
from tflite_export import carray, kotlin, micro, tail, targets, vela
from tflite_export.errors import TfliteError
from tflite_export.targets import Target

_FEW = 2


@dataclass(frozen=True)
class Wanted:
    """Which points of a run, for what; ``every`` takes all shipped ones or none, without it those that run there."""

    target: str
    point: str | None = None
    every: bool = False
    precision: str | None = None  # None: the first that the target takes and the run has


@dataclass(frozen=True)
class Member:
    """A point's file, read and found to be the one that was measured."""

    name: str
    precision: str
    content: bytes

    @property
    def stem(self) -> str:
        """What its files are called."""
        return f"{self.name}.{self.precision}"


@dataclass(frozen=True)
class Exported:
    """What was written, what was refused (a point and its reasons), and what to do next."""

    written: tuple[Path, ...]
    refused: tuple[tuple[str, tuple[str, ...]], ...]
    remarks: tuple[str, ...]
    advice: str


@dataclass(frozen=True)
class _Made:
    """Files by name, remarks and advice of one target."""

    files: dict[str, bytes]
    remarks: tuple[str, ...] = ()
    advice: str = ""


def export(path: Path, wanted: Wanted, out: Path, report: Reporter) -> Exported:
    """Write what a target needs of a run into ``out``: whole files or none.

    Raises ``RestnetError`` for a run without such points or files and where no point is left, ``TfliteError`` for an
    unknown target or precision and where Vela is missing.
    """
    target = targets.named(wanted.target)
    if target.name.startswith("ethos"):
        vela.check_installed()
    run = Run(path)
    meta, known = points.read(run.points_path)
    chosen, precision = _chosen(run, known, target, wanted)
    members = [_member(path, p, p.files[precision], precision) for p in chosen]
    taken, refused = _sifted(members, target, wanted.every or wanted.point is not None, report)
    labels = [str(name) for name in meta.get("class_names") or ()]
    made = _maker(target)(run, target, taken, labels, wanted.point is None)
    for name, content in made.files.items():
        runs.write_bytes(out / name, content)
    return Exported(tuple(out / name for name in made.files), refused, made.remarks, made.advice.format(out=out))


def _chosen(
    run: Run, known: Sequence[OperatingPoint], target: Target, wanted: Wanted
) -> tuple[list[OperatingPoint], str]:
    """The points asked for that have a file, and the precision of it."""
    family = [p for p in known if p.kind != CONTROL and p.files]
    if wanted.point is not None:
        found = [p for p in family if p.name == wanted.point]
        if not found:
            names = ", ".join(p.name for p in family)
            raise RestnetError(f"{run.path} has no files of a point {wanted.point!r}; it has: {names}")
    else:
        found = [p for p in family if p.status == SHIPPED]
    has = {precision for p in found for precision in p.files}
    precision = wanted.precision or next((p for p in target.precisions if p in has), None)
    if precision is None:
        raise RestnetError(
            f"{run.path} has no files that {target.title} takes, only {', '.join(sorted(has)) or 'none'};"
            f" build it with --precision {target.precisions[0]}"
        )
    targets.precision_named(precision)
    found = [p for p in found if precision in p.files]
    if not found:
        raise RestnetError(f"{run.path} has no files of {precision}, only of {', '.join(sorted(has))}")
    return found, precision


def _member(path: Path, point: OperatingPoint, file: File, precision: str) -> Member:
    try:
        content = (path / file.path).read_bytes()
    except OSError as error:
        raise RestnetError(f"cannot read {path / file.path}: {error.strerror}; run the build again") from None
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise RestnetError(f"{path / file.path} is not the file that was measured; run the build again")
    return Member(point.name, precision, content)


def _sifted(
    members: Iterable[Member], target: Target, strict: bool, report: Reporter
) -> tuple[list[Member], tuple[tuple[str, tuple[str, ...]], ...]]:
    """Members that the target takes, compiled where it wants them so, and the others with their reasons.

    Raises ``RestnetError`` with the reasons where none is left, or ``strict`` and one is refused.
    """
    taken, refused = [], []
    for member in members:
        report.stage(f"{member.stem} for {target.title}")
        reasons = [str(found) for found in targets.refusals(member.content, target.name, member.precision)]
        if not reasons:
            try:
                taken.append(_prepared(member, target))
                continue
            except TfliteError as error:
                reasons = [str(error)]
        refused.append((member.name, tuple(reasons)))
    if refused and (strict or not taken):
        words = "; ".join(f"{name}: {', '.join(reasons)}" for name, reasons in _alike(refused))
        raise RestnetError(f"{target.title} does not take {words}")
    return taken, tuple(refused)


def _alike(refused: Sequence[tuple[str, tuple[str, ...]]]) -> list[tuple[str, tuple[str, ...]]]:
    """Points that are refused for the same reasons, of which the first few stand for all, in one entry."""
    names: dict[tuple[str, ...], list[str]] = {}
    for name, reasons in refused:
        more = (f"and {len(reasons) - _FEW} more",) if len(reasons) > _FEW else ()
        names.setdefault((*reasons[:_FEW], *more), []).append(name)
    return [(", ".join(found), reasons) for reasons, found in names.items()]


def _prepared(member: Member, target: Target) -> Member:
    """Compiled by Vela or tried in TFLM; raises ``TfliteError`` where that fails."""
    if target.name.startswith("ethos"):
        found = vela.compiled(member.content, target.name, member.name)
        return replace(member, content=carray.aligned(found.content))
    if target.name == "tflm" and micro.installed():
        content = carray.aligned(member.content)
        if fault := micro.fault(content, tail.arena(content).size):
            raise TfliteError(f"TensorFlow Lite Micro cannot run it: {fault}")
    return member


def _android(run: Run, target: Target, members: Sequence[Member], labels: Sequence[str], whole: bool) -> _Made:
    """The elastic file where no single point was asked for, and a class that runs it."""
    elastic = run.elastic_path(members[0].precision)
    files = {f"{m.stem}.tflite": m.content for m in members}
    if whole and elastic.exists():
        files = {elastic.name: elastic.read_bytes()}
    texts = {}
    for name, content in files.items():
        stem = "StitchedClassifier" if len(files) == 1 else f"StitchedClassifier_{carray.identifier(Path(name).stem)}"
        texts[f"{stem}.kt"] = kotlin.snippet(content, name, labels).encode()
    return _Made(files | texts, (), "put the .tflite file into src/main/assets and the .kt file beside your sources")


def _coral(run: Run, target: Target, members: Sequence[Member], labels: Sequence[str], whole: bool) -> _Made:
    """The files as they are, what was checked, and the commands that would compile them."""
    files = {f"{m.stem}.tflite": m.content for m in members}
    names = " ".join(map(shlex.quote, files))
    script = (
        "#!/bin/sh\n# Made by restnet-tf. Compiles each file alone, to NAME_edgetpu.tflite and a log.\n"
        f'set -e\ncd "$(dirname "$0")"\nfor file in {names}; do\n  edgetpu_compiler -s "$file"\ndone\n'
    )
    lines = [f"{name}: keeps the documented rules\n" for name in files]
    told = f"Checked against the documented rules, not compiled ({target.source}).\n{''.join(lines)}"
    extra = {"check.txt": told.encode(), "compile.sh": script.encode(), "labels.txt": _lines(labels)}
    remark = "the files keep the documented rules; nothing here has compiled them"
    return _Made(files | extra, (remark,), "on a machine with edgetpu_compiler: sh {out}/compile.sh")


def _tflm(run: Run, target: Target, members: Sequence[Member], labels: Sequence[str], whole: bool) -> _Made:
    """C++ source of each point, and the labels once."""
    files = _sources(members, f"of {run.path.name}, for TensorFlow Lite Micro") | _encoded(carray.labels(labels))
    remark = "each point has run once in the tflite-micro wheel, in the arena that its header names"
    if not micro.installed():
        remark = "not tried: pip install 'restnet-tf[mcu]' brings TensorFlow Lite Micro's wheel"
    return _Made(files, (remark,), "compile {out}/*.cc into your firmware; *_resolver.h registers the operators")


def _ethos(run: Run, target: Target, members: Sequence[Member], labels: Sequence[str], whole: bool) -> _Made:
    """Vela's files, and the same as C++ source."""
    files = {f"{m.stem}_vela.tflite": m.content for m in members}
    files |= _sources(members, f"of {run.path.name}, compiled by Vela for {target.name}")
    remark = "Vela leaves no operator on the CPU; nothing has run on the device"
    advice = "compile {out}/*.cc into your firmware beside TensorFlow Lite Micro with its Ethos-U kernel"
    return _Made(files | _encoded(carray.labels(labels)), (remark,), advice)


def _maker(target: Target) -> Callable[[Run, Target, Sequence[Member], Sequence[str], bool], _Made]:
    makers = {"android": _android, "coral": _coral, "tflm": _tflm}
    return makers.get(target.name, _ethos)


def _sources(members: Sequence[Member], about: str) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for m in members:
        made = _encoded(carray.sources(m.content, m.stem, about=f"{m.name}, {m.precision}, {about}"))
        if set(made) & set(files):
            raise RestnetError(f"two points would be called {carray.identifier(m.stem)} in C++; export them one by one")
        files |= made
    return files


def _encoded(texts: dict[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in texts.items()}


def _lines(labels: Sequence[str]) -> bytes:
    return "".join(f"{' '.join(label.split())}\n" for label in labels).encode()
