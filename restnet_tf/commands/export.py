"""From a finished run to what one flashes or ships: the files of a target, and why points were refused."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from restnet_tf import atomic
from restnet_tf.points import points
from restnet_tf.points.points import CONTROL, SHIPPED, OperatingPoint
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError
from restnet_tf.run.directory import Run
from tflite_export import carray, flash, kotlin, link, micro, router, tail, targets, vela
from tflite_export.carray import Several
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import ALIGNMENT
from tflite_export.targets import Target

_FEW = 2


@dataclass(frozen=True)
class Wanted:
    """Which points of a run, for what; ``every`` takes all shipped ones or none, without it those that run there."""

    target: str
    point: str | None = None
    every: bool = False
    precision: str | None = None  # None: the first that the target takes and the run has
    together: str | None = None  # "image" or "router": all points in one array, for ``tflm``


@dataclass(frozen=True)
class Member:
    """A point's file, read and found to be the one that was measured."""

    name: str
    precision: str
    content: bytes
    several: Several | None = None  # where it is an array of all points

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
    if wanted.together and target.name != "tflm":
        raise RestnetError(f"--together {wanted.together} is for tflm; {target.title} takes the points' own files")
    run = Run(path)
    meta, known = points.read(run.points_path)
    chosen, precision = _chosen(run, known, target, wanted)
    members = [Member(p.name, precision, points.content(path, p.files[precision])) for p in chosen]
    taken, refused = _sifted(members, target, wanted.every or wanted.point is not None, report)
    if wanted.together:
        taken, _ = _sifted([_joined(run, wanted.together, taken)], target, True, report)
    labels = [str(name) for name in meta.get("class_names") or ()]
    made = _maker(target)(run, target, taken, labels, wanted.point is None)
    for name, content in made.files.items():
        atomic.write_bytes(out / name, content)
    return Exported(tuple(out / name for name in made.files), refused, made.remarks, made.advice.format(out=out))


def _chosen(
    run: Run, known: Sequence[OperatingPoint], target: Target, wanted: Wanted
) -> tuple[list[OperatingPoint], str]:
    """The points asked for that have a file, and the precision of it."""
    family = sorted((p for p in known if p.kind != CONTROL and p.files), key=lambda p: (p.macs, p.name))
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


def _joined(run: Run, how: str, members: Sequence[Member]) -> Member:
    """All points in one array, made of the run's elastic file."""
    precision = members[0].precision
    elastic = run.elastic_path(precision)
    try:
        content = elastic.read_bytes()
    except OSError as error:
        raise RestnetError(
            f"cannot read {elastic}: {error.strerror}; points are joined from the elastic file of a run that was"
            f" built with --precision {precision} and not with --converter tf"
        ) from None
    wanted = [m.name for m in members]
    made = (router if how == "router" else flash).of_elastic(content, wanted)
    names = tuple(entry["name"] for entry in link.points(made)["points"])
    if how == "router":
        return Member("router", precision, made, Several(names, 0, (made,)))
    entries = tuple(flash.entry(made, place) for place in range(len(names)))
    return Member("points", precision, made, Several(names, ALIGNMENT, entries))


def _sifted(
    members: Iterable[Member], target: Target, strict: bool, report: Reporter
) -> tuple[list[Member], tuple[tuple[str, tuple[str, ...]], ...]]:
    """Members that the target takes, compiled where it wants them so, and the others with their reasons.

    Raises ``RestnetError`` with the reasons where none is left, or ``strict`` and one is refused.
    """
    taken, refused = [], []
    for member in members:
        report.stage(f"{member.stem} for {target.title}")
        networks = member.several.networks if member.several else (member.content,)
        found = [r for content in networks for r in targets.refusals(content, target.name, member.precision)]
        reasons = list(dict.fromkeys(map(str, found)))
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
        for content, choice in _trials(member):
            if fault := micro.fault(content, tail.arena(content).size, choice):
                raise TfliteError(f"TensorFlow Lite Micro cannot run it: {fault}")
    return member


def _trials(member: Member) -> list[tuple[bytes, int | None]]:
    """What to run of a member, and a router's choice."""
    several = member.several
    if several is None:
        return [(carray.aligned(member.content), None)]
    if several.stride:
        return [(content, None) for content in several.networks]
    return [(member.content, choice) for choice in range(len(several.points))]


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
        made = _encoded(carray.sources(m.content, m.stem, about=f"{m.name}, {m.precision}, {about}", several=m.several))
        if set(made) & set(files):
            raise RestnetError(f"two points would be called {carray.identifier(m.stem)} in C++; export them one by one")
        files |= made
    return files


def _encoded(texts: dict[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in texts.items()}


def _lines(labels: Sequence[str]) -> bytes:
    return "".join(f"{' '.join(label.split())}\n" for label in labels).encode()
