"""What firmware is built with: the kernels of TensorFlow Lite Micro, and what their core can do.

CMSIS-NN has three forms of each kernel, and each asks for working memory of its own: for cores that have neither
extension (M0+, M3), with the DSP extension (M4, M7, M33), and with Helium, Arm's vectors (M55, M85).
"""

from __future__ import annotations

from dataclasses import dataclass

from tflite_export.errors import TfliteError

REFERENCE, CMSIS_NN = LIBRARIES = ("reference", "cmsis-nn")
PLAIN, DSP, HELIUM = "plain", "dsp", "helium"
# By name, as compilers take it behind -mcpu=: what a core has. An M33 without DSP needs no more than one with it.
CORES = {
    "cortex-m0plus": PLAIN,
    "cortex-m3": PLAIN,
    "cortex-m4": DSP,
    "cortex-m7": DSP,
    "cortex-m33": DSP,
    "cortex-m55": HELIUM,
    "cortex-m85": HELIUM,
}


@dataclass(frozen=True)
class Kernels:
    """A library of kernels in one form; ``host`` for the wheel on a 64-bit host, whose records are twice as long."""

    library: str = REFERENCE
    form: str = PLAIN
    host: bool = False

    @property
    def title(self) -> str:
        """What people call it."""
        if self.library == REFERENCE:
            return "reference kernels"
        cores = ", ".join(name for name, form in CORES.items() if form == self.form)
        return f"CMSIS-NN on {cores}"


HOST = Kernels(host=True)
# Of all that differ; which one takes most is not the same for every file.
EVERY = (Kernels(), *(Kernels(CMSIS_NN, form) for form in (PLAIN, DSP, HELIUM)))


def built(library: str | None = None, core: str | None = None) -> tuple[Kernels, ...]:
    """All that a build may turn out to be, where ``None`` leaves it open; raises TfliteError for an unknown name."""
    if library is not None and library not in LIBRARIES:
        raise TfliteError(f"unknown kernels {library!r}; choose one of {', '.join(LIBRARIES)}")
    if core is not None and core not in CORES:
        raise TfliteError(f"unknown core {core!r}; choose one of {', '.join(CORES)}")
    return tuple(
        kernels
        for kernels in EVERY
        if library in (None, kernels.library)
        and (core is None or kernels.library == REFERENCE or kernels.form == CORES[core])
    )
