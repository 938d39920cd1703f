"""What a search found, in a file: every score is kept, so that a run goes on without searching again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path

from restnet_tf import atomic, words
from restnet_tf.methods.stitchnet.fragments import Fragment
from restnet_tf.methods.stitchnet.search import Link, Net, SearchResult
from restnet_tf.records import Reason, RestnetError, Tally
from restnet_tf.schema import SCHEMA


@dataclass(frozen=True)
class NetRecord:
    """A net as it is kept: ``links`` are member, fragment, score and R2; ``right`` is a digit an image."""

    name: str
    overall: float
    macs: int
    params: int
    accuracy: float
    knn: float
    refused: Reason | None
    loss: float | None  # None for an infinite one, which JSON lacks
    right: str
    links: tuple[tuple[str, int, float, float | None], ...]


@dataclass(frozen=True)
class SearchFile:
    """The file of one search."""

    nets: tuple[NetRecord, ...]
    refused: tuple[NetRecord, ...]
    ended: tuple[Tally, ...]


def write(path: Path, part: SearchResult) -> None:
    """Keep a search's findings."""
    nets, refused = (tuple(_record(net) for net in nets) for nets in (part.nets, part.refused))
    atomic.write_bytes(path, SCHEMA.text(SearchFile(nets, refused, tallies(part.ended))))


def read(path: Path, pool: Mapping[str, tuple[Fragment, ...]]) -> SearchResult:
    """What ``write`` wrote, of the fragments that it was found of; raises ``RestnetError`` where it is broken."""
    try:
        content = SCHEMA.load(SearchFile, path)
        nets, refused = ([_net(record, pool) for record in records] for records in (content.nets, content.refused))
    except (OSError, ValueError, LookupError) as error:
        raise RestnetError(f"{path} cannot be read: {error}; delete it and compose again") from None
    return SearchResult(nets, refused, Counter({one.reason: one.count for one in content.ended}))


def tallies(ended: Mapping[Reason, int]) -> tuple[Tally, ...]:
    """How many paths ended for what, by their sentences."""
    return tuple(Tally(reason, ended[reason]) for reason in sorted(ended, key=words.sentence))


def _record(net: Net) -> NetRecord:
    return NetRecord(
        name=net.name,
        overall=net.overall,
        macs=net.macs,
        params=net.params,
        accuracy=net.accuracy,
        knn=net.knn,
        refused=net.refused,
        loss=None if net.loss == inf else net.loss,
        right="".join("01"[r] for r in net.right),
        links=tuple((*link.fragment.key, link.score, link.r2) for link in net.links),
    )


def _net(record: NetRecord, pool: Mapping[str, tuple[Fragment, ...]]) -> Net:
    return Net(
        links=tuple(Link(pool[member][index], score, r2) for member, index, score, r2 in record.links),
        overall=record.overall,
        macs=record.macs,
        params=record.params,
        loss=inf if record.loss is None else record.loss,
        accuracy=record.accuracy,
        knn=record.knn,
        right=tuple(digit == "1" for digit in record.right),
        refused=record.refused,
    )
