"""`--help` of every command teaches, and is quick because nothing heavy is imported for it."""

import subprocess
import sys

import pytest
import typer
from reasonscope.commands import COMMANDS

HEAVY = {"torch", "transformers", "mlflow", "polars", "pandas", "pandera", "datasets", "pyarrow", "numpy", "matplotlib"}
WORDS = [
    (app, [name])
    for app in ("cot_neurons", "reasonscope", "specimens")
    for _, typed in COMMANDS.values()
    if typed is sys.modules[f"{app}.cli"].app
    for name in typer.main.get_command(typed).commands
]


@pytest.mark.parametrize(
    ("module", "words"), [*WORDS, *((app, []) for app in ("cot_neurons", "reasonscope", "specimens"))]
)
def test_help_imports_nothing_heavy(module: str, words: list[str]):
    code = (
        "import sys\n"
        f"from {module}.cli import app\n"
        f"try: app({[*words, '--help']!r})\n"
        "except SystemExit: pass\n"
        f"print('heavy:', sorted({HEAVY!r} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "heavy: []" in ran.stdout
    assert "Usage:" in ran.stdout
