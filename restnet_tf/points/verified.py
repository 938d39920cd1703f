"""What running a file beside something that has to answer alike has shown."""

from __future__ import annotations

from dataclasses import dataclass

from tflite_export.verify import Agreement


@dataclass(frozen=True)
class Verified:
    """A linked file beside its variant in Keras and beside TensorFlow's conversion of that.

    ``right`` is the share of images answered as labelled (without labels: as Keras answers), by
    "keras", "linked" and "converted"; ``to_keras`` how the files agree with Keras; ``difference`` the largest
    of any score between the two files; ``latency_ratio`` the median of paired runs, linked over converted.
    """

    point: str
    precision: str
    right: dict[str, float]
    to_keras: dict[str, Agreement]
    difference: float
    flash_bytes: dict[str, int]
    latency_ratio: float


@dataclass(frozen=True)
class VerifiedOriginal:
    """A model that came as a file: the run's file beside that one, with preprocessing and softmax done in NumPy.

    ``right`` as in ``Verified`` by "original" and "linked", without labels as the original answers.
    """

    point: str
    precision: str
    right: dict[str, float]
    to_original: Agreement
    flash_bytes: dict[str, int]


@dataclass(frozen=True)
class VerifiedCascade:
    """A cascade's file at some thresholds beside its stages, run one by one.

    ``noted`` are the thresholds that the file itself says were chosen, and ``expected`` those that the run says;
    ``elsewhere`` counts the images of ``n`` that another stage answered, ``difference`` is the largest of any score;
    ``deferral`` is the share of images that the first stage leaves to others.
    """

    point: str
    precision: str
    thresholds: tuple[float, ...]
    noted: tuple[float, ...]
    expected: tuple[float, ...]
    n: int
    deferral: float
    elsewhere: int
    difference: float

    @property
    def equal(self) -> bool:
        """Whether the same stages gave the same scores, to the bit, and file and run name the same thresholds."""
        return not self.elsewhere and self.difference == 0 and self.noted == self.expected


@dataclass(frozen=True)
class Checks:
    """All that was checked of a run, on ``count`` test inputs, which people call so."""

    networks: tuple[Verified, ...]
    originals: tuple[VerifiedOriginal, ...]
    cascades: tuple[VerifiedCascade, ...]
    count: int = 0
    many: str = "images"

    @property
    def tests(self) -> str:
        """On what, in words."""
        return f"{self.count} test {self.many}"
