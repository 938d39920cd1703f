"""Runs the notebooks and keeps what they show: python notebooks/make.py FOLDER

FOLDER has the run of the demo in ``runs/demo``; what the notebooks write lies there too. Without it they take some
minutes longer, for they make it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).resolve().parent
_PICTURE = "image/png"
_SECONDS = 3600  # of a cell, at most


def made(path: Path, folder: Path) -> Any:
    """A notebook with what its cells print and draw there, and nothing of the machine."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(path, as_version=4)
    about = dict(book.metadata)
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(book, timeout=_SECONDS, kernel_name="python3", resources=place).execute()
    book.metadata = about
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = kept(cell.outputs)
    return book


def kept(outputs: Sequence[Any]) -> list[Any]:
    """Standard output in one piece and pictures; what the libraries tell programmers is not for readers."""
    shown: list[Any] = []
    for output in outputs:
        if output.output_type == "display_data":
            output.data = {_PICTURE: output.data[_PICTURE]}
            shown.append(output)
        elif output.output_type == "stream" and output.name == "stdout":
            if shown and shown[-1].output_type == "stream":
                shown[-1].text += output.text
            else:
                shown.append(output)
    return shown


def main() -> None:
    """Make all of them anew."""
    import nbformat

    folder = Path(sys.argv[1]).resolve()
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        nbformat.write(made(path, folder), path)
        print(f"made {path.name}")


if __name__ == "__main__":
    main()
