"""The command line `actkit`: hold every promise of actkit against a model of yours."""

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_EXAMPLES = """\b
Examples:
  actkit check gpt2
  actkit check ./my-model --dtype bfloat16 --device cuda
  actkit check meta-llama/Llama-3.2-1B --revision main
\b
Exit codes: 0 all promises that apply hold, 1 one does not, 2 bad usage (no such model, dtype or device)."""


@app.callback()
def actkit() -> None:
    """Look inside and edit any Hugging Face causal LM."""


@app.command(epilog=_EXAMPLES)
def check(
    model: Annotated[str, typer.Argument(help="A model folder, or a hub id such as gpt2.")],
    device: Annotated[str, typer.Option(help="Where to run: cpu, cuda, …; auto takes the first accelerator.")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="float32, bfloat16, float16, float64; auto is the checkpoint's own.")
    ] = "auto",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")] = None,
) -> None:
    """Run every promise of actkit on this very model, against plain Hugging Face forwards, and print a table.

    Logits with hooks on and values written back must be equal bit for bit. What is summed in another order (neurons
    times value vectors, a row alone or in a batch, generating or one forward) is held to a bound for the dtype, shown
    with the number measured. What the model's family cannot do is refused by name, and the table says why.

    An architecture without a row in actkit's table is looked at structurally: the report says which facts a test
    forward verified and which not. docs/adding-a-model.md tells how to make them a row.
    """
    import warnings

    from rich.console import Console

    from actkit.check import check as run_checks
    from actkit.errors import LoadError, UnknownFamily
    from actkit.loading import load

    errors = Console(stderr=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what they would say is in the report
            report = run_checks(load(model, device=device, dtype=dtype, revision=revision))
    except (LoadError, UnknownFamily) as error:
        errors.print(str(error), style="red", markup=False)
        raise typer.Exit(2 if isinstance(error, LoadError) else 1) from error
    report.show(Console())
    raise typer.Exit(0 if report else 1)


if __name__ == "__main__":
    app()
