"""The tutorial runs from top to bottom, and shows what its text says it shows."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "tutorial.ipynb"


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Its code cells after a run in an empty folder."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folder = tmp_path_factory.mktemp("tutorial")
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    assert list(folder.iterdir()) == []
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _outputs(cells, source):
    """What the one cell whose source has these words gave: by MIME type, and what it printed."""
    (cell,) = (cell for cell in cells if source in cell.source)
    shown = {
        "printed": "".join(out.text for out in cell.outputs if out.output_type == "stream" and out.name == "stdout")
    }
    for out in cell.outputs:
        shown.update(out.get("data", {}))
    return shown


def test_it_is_stored_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 15
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_it_runs_to_the_end_without_a_complaint(cells):
    outputs = [out for cell in cells for out in cell.outputs]
    assert [out for out in outputs if out.output_type == "error"] == []
    complaints = [out.text for out in outputs if out.output_type == "stream" and out.name == "stderr"]
    assert [text for text in complaints if "IProgress not found" not in text] == []  # notebooks may lack ipywidgets
    assert all(cell.outputs for cell in cells)


def test_figures_are_drawn(cells):
    for source in ("lens.plot(", "layers.plot(", "neurons.plot("):
        assert len(_outputs(cells, source)["image/png"]) > 5_000
    for source in ("whole = model.run", "patterns = ["):
        page = _outputs(cells, source)["text/html"]
        assert page.count("<span title=") > 40


def test_what_the_text_says_is_so(cells):
    assert "12 + 7 = 19" in _outputs(cells, "answer = model.generate")["printed"]
    assert "Run of Llama: 1 row × " in _outputs(cells, "print(run)")["printed"]
    assert "Nearest: mlp_post.3" in _outputs(cells, "mlp_pots")["printed"]
    table = _outputs(cells, "lens.table()")["text/plain"]
    assert all(column in table for column in ("layer", "token", "top", "probs", "entropy"))
    digits = re.findall(r"<td>&quot; ?(\d)&quot;</td>", _outputs(cells, "promoted_tokens")["text/html"])
    assert len(digits) == 10
    assert all(int(digit) % 2 for digit in digits)
    sums = re.findall(r"= (\d+) shells", _outputs(cells, "turned =")["printed"])
    pairs = [(int(before), int(after)) for before, after in zip(sums[::2], sums[1::2], strict=True)]
    assert [before for before, _ in pairs] == [19, 35, 56, 85]
    assert {abs(before - after) for before, after in pairs} == {0, 1}
    edited = _outputs(cells, "edits = {")["printed"].splitlines()
    assert [line.split("('")[1][0] for line in edited] == ["9", "7", "7", "9"]
    assert "strongest: mlp_out.3" in _outputs(cells, "grid = actkit.trace")["text/plain"]
    assert "all promises that apply hold" in _outputs(cells, "check(model)")["printed"]
