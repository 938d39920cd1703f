"""Where things lie: the project, and the real models and data beside it, which may be absent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
# ``once(name, fill)`` of conftest: a folder that ``fill`` filled, in one of the workers, for the tests of all.
Once = Callable[[str, Callable[[Path], None]], Path]
