"""The sections on training: what was trained, how accuracy went, when it fitted and when it grokked."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from runkit.page.charts import Dot, dots
from runkit.page.document import picture
from runkit.page.markup import Child, Markup, element, note, prose, table
from runkit.page.numbers import NONE, count, real, share, spanned_share

from grokked_reasoning.pages import drawn
from grokked_reasoning.pages.evidence import Setting, Trained
from grokked_reasoning.pages.spread import over, steps, times, told

_SIZES = ("entities", "relations", "degree", "values", "phi", "share", "ood", "held_out")


def what(settings: Sequence[Setting]) -> list[Markup]:
    """A table per setting: world and rows, model, how it was trained, how many seeds."""
    parts: list[Markup] = []
    for place, each in enumerate(settings, start=1):
        one = each.one
        rows = [("world", _world(one)), ("training rows", _rows(one)), ("model", _model(one)),
                ("training", _recipe(one)), ("runs", _seeds(each))]  # fmt: skip
        parts += [element("h3", each.name), table(["what", "how"], rows, id=f"setting-{place}")]
    lead = (
        "GPT-2-shaped models, from scratch, on symbolic facts: atomic ones, and some of those inferred from ID facts. "
        "A setting is everything but seeds; its runs differ in the seed of the model, of the world, or both."
    )
    return [prose(lead), *parts]


def curves(settings: Sequence[Setting]) -> list[Markup]:
    """A figure per setting."""
    parts: list[Markup] = []
    for setting in settings:
        runs = len(setting.runs)
        words = (
            f"{setting.name}: accuracy by type of row over steps, "
            + (f"median of {runs} runs; bands: least to most. " if runs > 1 else "one run. ")
            + "Vertical lines: the events of each run."
        )
        parts += [element("h3", setting.name), picture(drawn.png(drawn.curves(setting)), words)]
    return parts


def when(settings: Sequence[Setting]) -> list[Markup]:
    """A row per setting, then a row per run."""
    thresholds = sorted({(each.one.options.fitted, each.one.options.grokked, each.one.options.patience)
                         for each in settings})  # fmt: skip
    rules = "; ".join(
        f"fitted: all types of training facts at least {100 * fitted:g} %; grokked: all unseen inferences of the "
        f"kind at least {100 * grokked:g} % in {count(patience, 'evaluation')} in a row, of which the first counts"
        for fitted, grokked, patience in thresholds
    )
    head = ["setting", "fitted at step", "ID then", "grokked at step", "delay", "ID at the end", "OOD at the end",
            "OOD grokked"]  # fmt: skip
    single = [
        "run",
        "model seed",
        "fitted",
        "ID then",
        "grokked",
        "delay",
        "ID at the end",
        "OOD at the end",
        "last step",
    ]
    return [
        prose(
            "Median over runs, with the least and the most. Delay: the step of grokking over that of fitting, of the "
            "runs that did both."
        ),
        table(head, [_summary(each) for each in settings], id="when"),
        note(f"{rules[:1].upper()}{rules[1:]}. Runs that stopped when they had grokked end there."),
        element("details", element("summary", "Run by run"), table(single, list(_each(settings)), id="runs-trained")),
    ]


def outside(settings: Sequence[Setting]) -> list[Markup]:
    """OOD accuracy at the end by setting and type, chance beside it; looped models among them."""
    rows = [_outside(each, kind) for each in settings for kind in each.one.types("ood")]
    if not rows:
        return [prose("No run here has facts out of distribution.")]
    lead = (
        "Unseen inferences from OOD facts, which no inference in training uses. Chance: the share of the most common "
        "answer, which needs no look at the question."
    )
    head = ["setting", "accuracy; · runs", "type", "median", "least to most", "chance", "facts", "runs", "last step"]
    return [prose(lead), dots(rows, head, (0, 1), id="outside"), *_looped(settings)]


def _looped(settings: Sequence[Setting]) -> Iterator[Markup]:
    """Looped models against plain ones of the same task, as they came out."""
    for looped in settings:
        plain = [each for each in settings if each.one.task == looped.one.task and each.one.options.loops == 1]
        if looped.one.options.loops > 1 and plain:
            against = "; ".join(f"{each.name} {over(each, _final_ood, share)}" for each in plain)
            yield prose(f"Looped, {looped.name}: {over(looped, _final_ood, share)}. Plain: {against}.")


def findings(setting: Setting) -> str:
    """What the runs of a setting did, in a sentence or two that say no more than was measured."""
    options, runs = setting.one.options, len(setting.runs)
    fitted = [each for each in setting.runs if each.event("fitted") is not None]
    grokked = [each for each in setting.runs if each.event("grokked_id") is not None]
    rule = f"(≥ {100 * options.fitted:g} %)"
    words = [f"{setting.name}: {len(fitted)} of {count(runs, 'run')} fitted their training facts {rule}"]
    if fitted:
        at, then = told([each.event("fitted") for each in fitted], steps), told([_id_then(each) for each in fitted])
        words.append(f" at step {at}, when ID accuracy was {then}")
    words.append(f"; {len(grokked)} reached ID ≥ {100 * options.grokked:g} %")
    if grokked:
        words.append(f" at step {told([each.event('grokked_id') for each in grokked], steps)}")
    if any(each.delay for each in setting.runs):
        words.append(f", {told([each.delay for each in grokked if each.delay], times)} times the step of fitting")
    words.append(f". At the end OOD is {over(setting, _final_ood)}{_of_facts(setting)}.")
    sentence = "".join(words)
    return sentence[:1].upper() + sentence[1:]


def _of_facts(setting: Setting) -> str:
    """On how many facts, and what chance is."""
    kinds = setting.one.types("ood")
    last = setting.one.last
    sizes = [count(last.filter(type=kind)["n"][0], "fact") for kind in kinds]
    known = setting.one.world.get("chance", {})
    luck = [real(known[kind]) for kind in kinds if kind in known]
    return f" on {' and '.join(sizes)}" + (f" (chance {' and '.join(luck)})" if luck else "") if sizes else ""


def _final_ood(run: Trained) -> float | None:
    return run.final("ood")


def _final_id(run: Trained) -> float | None:
    return run.final("id")


def _id_then(run: Trained) -> float | None:
    return run.event("fitted", "id_accuracy")


def _summary(setting: Setting) -> list[Child]:
    return [
        setting.name,
        over(setting, lambda run: run.event("fitted"), steps),
        over(setting, _id_then),
        over(setting, lambda run: run.event("grokked_id"), steps),
        over(setting, lambda run: run.delay, times),
        over(setting, _final_id),
        over(setting, _final_ood),
        over(setting, lambda run: run.event("grokked_ood"), steps),
    ]


def _each(settings: Sequence[Setting]) -> Iterator[list[Child]]:
    for run in (run for setting in settings for run in setting.runs):
        fitted, grokked = (run.event(name) for name in ("fitted", "grokked_id"))
        at = [NONE if step is None else steps(step) for step in (fitted, grokked)]
        delay = NONE if run.delay is None else times(run.delay)
        ends = [real(_final_id(run)), real(_final_ood(run)), steps(run.last["step"][0])]
        yield [run.folder.name, run.options.seed, at[0], real(_id_then(run)), at[1], delay, *ends]


def _outside(setting: Setting, kind: str) -> Dot:
    found = [each.last.filter(type=kind) for each in setting.runs]
    values = [float(each["accuracy"][0]) for each in found if len(each)]
    ends = (min(values), max(values)) if len(values) > 1 else (None, None)
    luck = [each.world["chance"][kind] for each in setting.runs if kind in each.world.get("chance", {})]
    last = told([each.last["step"][0] for each in setting.runs], steps)
    cells = [kind, share(median(values)), spanned_share(*ends), share(median(luck)) if luck else NONE,
             f"{found[0]['n'][0]:,}", len(values), last]  # fmt: skip
    return Dot(setting.name, median(values), *ends, cells, values)


def _world(run: Trained) -> str:
    if not run.world:
        return "its data does not tell (no world.json)"
    return ", ".join(f"{name.replace('_', ' ')} {run.sizes[name]:g}" for name in _SIZES if run.sizes.get(name))


def _rows(run: Trained) -> str:
    rows: dict[str, Any] = run.world.get("rows", {}).get("train", {})
    return ", ".join(f"{kind} {number:,}" for kind, number in rows.items()) or NONE


def _model(run: Trained) -> str:
    recipe, loops = run.options.recipe(), run.options.loops
    looped = f", run {loops} times" if loops > 1 else ""
    return (
        f"{recipe.layers} layers{looped}, width {recipe.width}, {recipe.heads} heads, dropout {run.options.dropout:g}"
    )


def _recipe(run: Trained) -> str:
    recipe, options = run.options.recipe(), run.options
    extra = [] if options.grokfast == "none" else [f"Grokfast {options.grokfast}"]
    extra += [] if options.trainer == "native" else [f"trainer {options.trainer}"]
    return ", ".join([
        options.optimizer, f"batch {recipe.batch_size}", f"learning rate {recipe.learning_rate:g}",
        f"weight decay {options.weight_decay:g}", f"warm-up {recipe.warmup:,}", f"at most {recipe.max_steps:,} steps",
        f"loss on the {options.supervise}", *extra,
    ])  # fmt: skip


def _seeds(setting: Setting) -> str:
    worlds = {each.world.get("options", {}).get("seed") for each in setting.runs if each.world}
    seeds = ", ".join(str(each.options.seed) for each in setting.runs)
    return f"{len(setting.runs)}: model seeds {seeds}; {count(len(worlds), 'world')}"
