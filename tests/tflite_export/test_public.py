"""What ``import tflite_export`` offers: it is quick, whole, and its examples hold."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import tflite_export

FOLDER = Path(tflite_export.__file__).parent


def test_the_import_loads_nothing_and_every_name_is_there() -> None:
    script = (
        "import sys, time\n"
        "began = time.process_time()\n"
        "import tflite_export\n"
        "took = time.process_time() - began\n"
        "assert not {'numpy', 'tensorflow', 'keras', 'ai_edge_litert'} & set(sys.modules)\n"
        "assert took < 0.1, took\n"
        "assert set(tflite_export.__all__) <= set(dir(tflite_export))\n"
        "for name in tflite_export.__all__: assert getattr(tflite_export, name).__name__ == name\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=FOLDER.parent, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_public_name_is_hidden_by_a_module() -> None:
    assert not {path.stem for path in FOLDER.iterdir()} & set(tflite_export.__all__)
    assert set(tflite_export._MODULES) == set(tflite_export.__all__)


def test_other_names_are_refused_with_those_there_are() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Linker'; it has ArenaPlan, ElasticModel"):
        _ = tflite_export.Linker


def test_every_public_name_has_an_example_that_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestFinder(recurse=False).find(tflite_export)[0]
    code = "".join(example.source for example in test.examples)
    # The records and the error are what the examples get back.
    given = {"ArenaPlan": "plan(", "LiveRange": "ranges(", "TfliteError": "1K"}
    assert [name for name in tflite_export.__all__ if given.get(name, f"tflite_export.{name}") not in code] == []
    printed: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=printed.append)
    assert not printed, "".join(printed)
