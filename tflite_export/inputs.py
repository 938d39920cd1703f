"""What the numbers are that a network takes: photos, or values of another kind as their data set has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tflite_export.errors import TfliteError

RAW = (0.0, 255.0)


@dataclass(frozen=True)
class InputKind:
    """Whether inputs are ``photos`` (raw 0..255) or values of any kind, and between what they lie.

    ``low`` and ``high`` are those of the training data; other data may reach further where they are no photos.
    """

    photos: bool = True
    low: float = RAW[0]
    high: float = RAW[1]

    @property
    def limits(self) -> tuple[float, float]:
        """Between what any input of this kind has to lie."""
        return RAW if self.photos else (-float("inf"), float("inf"))

    def steps(self, integers: str) -> tuple[float, int]:
        """Scale and zero point at which int8 or int16 hold the range, and 0, as TensorFlow chooses them."""
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        if integers == "int16":
            return max(-low, high, 1e-6) / 32767, 0
        scale = max(high - low, 1e-6) / 255
        return scale, round(-128 - low / scale)

    @property
    def one(self) -> str:
        """What people call an input."""
        return "image" if self.photos else "example"

    @property
    def many(self) -> str:
        """What people call inputs."""
        return f"{self.one}s"

    @property
    def numbers(self) -> str:
        """What programs call the numbers of an input."""
        return "pixels" if self.photos else "values"

    @property
    def told(self) -> str:
        """What the numbers of an input are, for the people who write programs that hand them over."""
        return "0..255" if self.photos else f"as the training data have them ({self.low:g} to {self.high:g} there)"


PHOTOS = InputKind()


def note(kind: InputKind) -> dict[str, Any]:
    """What files say of their inputs: nothing of photos."""
    return {} if kind.photos else {"input": asdict(kind)}


def noted(notes: Mapping[str, Any]) -> InputKind:
    """The kind of inputs that a file's or a run's notes tell; raises TfliteError for what says none."""
    entry = notes.get("input")
    if entry is None:
        return PHOTOS
    try:
        return InputKind(bool(entry["photos"]), float(entry["low"]), float(entry["high"]))
    except (KeyError, TypeError, ValueError) as error:
        raise TfliteError(f"what the notes say of the input is not understood: {error!r}") from None
