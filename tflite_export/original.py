"""A classifier's file as it came, its ends worked out in NumPy: what a file with operators for them is held against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from tflite_export.chatter import captured
from tflite_export.errors import TfliteError
from tflite_export.integers import dequantise, quantise
from tflite_export.preprocessing import of_mode


@dataclass(frozen=True)
class Original:
    """A file as it came, with what ``adapter.adapted`` is told of it."""

    content: bytes = field(repr=False)
    channels_first: bool = False
    preprocess: str = "none"
    logits: bool = False
    classes: tuple[int, ...] | None = None

    def scores(self, batches: Iterable[np.ndarray], threads: int = 2) -> np.ndarray:
        """Probabilities ``(n, classes)`` float32 of raw images ``(b, h, w, c)``, which LiteRT is given one at a time.

        Raises TfliteError for a file that LiteRT cannot run, and for no images.
        """
        from ai_edge_litert.interpreter import Interpreter

        with captured():
            try:
                interpreter = Interpreter(model_content=self.content, num_threads=threads)
                interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                raise TfliteError(f"LiteRT cannot run the file ({len(self.content)} bytes): {error}") from error
        (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
        rows = []
        for batch in batches:
            for image in quantise(self._prepared(np.asarray(batch)), entry):
                interpreter.set_tensor(entry["index"], image[None])
                interpreter.invoke()
                rows.append(interpreter.get_tensor(end["index"]).reshape(-1).copy())
        if not rows:
            raise TfliteError("no images to run; the batches given hold none")
        return self._probabilities(dequantise(np.stack(rows), end))

    def _prepared(self, images: np.ndarray) -> np.ndarray:
        mode = of_mode(self.preprocess, images.shape[-1])
        values = images[..., ::-1] if mode.reversed else images
        values = values * mode.factors + mode.offsets
        return values.transpose(0, 3, 1, 2) if self.channels_first else values

    def _probabilities(self, scores: np.ndarray) -> np.ndarray:
        chosen = scores if self.classes is None else scores[:, self.classes]
        if not self.logits:
            return chosen
        powers = np.exp(chosen - chosen.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)
