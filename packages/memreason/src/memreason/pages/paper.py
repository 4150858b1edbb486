"""The paper's numbers (Jin et al., ACL 2025), and those of the outputs that were published with it."""

from runkit.page.markup import Markup, element, note, table

_ACCURACY = (
    ("zero-shot", "Llama-2-7B", ".607", ".523", ".262"),
    ("zero-shot", "Llama-3.1-8B", ".659", ".635", ".616"),
    ("zero-shot", "Qwen2.5-7B", ".640", ".789", ".726"),
    ("zero-shot", "GPT-4o", ".699", ".834", ".848"),
    ("chain of thought", "Llama-3.1-8B", ".694", ".706", ".506"),
    ("chain of thought", "Qwen2.5-7B", ".696", ".784", ".567"),
    ("chain of thought", "GPT-4o", ".808", ".865", ".854"),
    ("LoRA", "Llama-2-7B", ".612", ".641", ".767"),
    ("LoRA", "Llama-3.1-8B", ".701", ".754", ".798"),
    ("LoRA", "Qwen2.5-7B", ".691", ".775", ".725"),
    ("planning tokens", "Llama-2-7B", ".635", ".654", ".770"),
    ("planning tokens", "Llama-3.1-8B", ".767", ".769", ".825"),
    ("planning tokens", "Qwen2.5-7B", ".774", ".801", ".762"),
    ("memory and reason", "Llama-2-7B", ".706", ".711", ".786"),
    ("memory and reason", "Llama-3.1-8B", ".780", ".823", ".866"),
    ("memory and reason", "Qwen2.5-7B", ".786", ".832", ".812"),
    ("random kinds", "Llama-2-7B", ".644", ".651", ".708"),
    ("random kinds", "Llama-3.1-8B", ".759", ".795", ".840"),
)
_SHIPPED = (
    ("Llama-2-7B", "70.7 (paper 70.6)", "71.5; 71.2 of distinct ones (71.1)", "77.4 (78.6)"),
    ("Llama-3.1-8B", "75.4 (78.0)", "81.9; 80.9 (82.3)", "88.4 (86.6)"),
    ("Qwen2.5-7B", "78.6 (78.6)", "83.5; 82.7 (83.2)", "81.1 (81.2)"),
)
_JUDGED = (
    ("blame, memory : reasoning", "1.7 : 98.3", "21.6 : 78.4", "21.1 : 78.9"),
    ("memory steps that state a fact, memory and reason tokens", "94", "91", "89"),
    ("memory steps that state a fact, one-shot chain of thought", "93", "83", "88"),
    ("reasoning steps that infer, memory and reason tokens", "71", "78", "74"),
    ("reasoning steps that infer, one-shot chain of thought", "67", "74", "62"),
)
_SETS = ("StrategyQA", "CommonsenseQA", "TruthfulQA")
_UNLIKE = (
    "They are of other models and other questions than the runs on this page, one run each, without pairs: nothing "
    "here confirms or refutes them. The paper picks its best epoch on the test set and samples its answers unseeded; "
    "its 95 % half-widths are about 3.1, 2.1 and 5.2 points, so that typed against random kinds (Llama-3.1-8B) is "
    "within noise on each set. In nearly all outputs published for Qwen2.5-7B the type tokens are missing: they were "
    "trained in rows that the model does not use. Of CommonsenseQA 1,200 answers were drawn with replacement: 781 "
    "distinct questions."
)


def published() -> list[Markup]:
    """Accuracy as printed, and of the published outputs graded anew."""
    return [
        note(_UNLIKE),
        _folded("Accuracy, paper, table 1 and ablation", ["method", "model", *_SETS], _ACCURACY, "paper-accuracy"),
        _folded("The published outputs, graded anew, %", ["model", *_SETS], _SHIPPED, "paper-shipped"),
    ]


def judged() -> Markup:
    """What the paper's judges said (GPT-4o, GPT-4o-mini), of Llama-3.1-8B; nobody judged the judges."""
    title = "The paper’s own, by GPT-4o and GPT-4o-mini, %; of TruthfulQA 19 wrong answers, so 21.1 % are four"
    return _folded(title, ["what", *_SETS], _JUDGED, "paper-judged")


def _folded(title: str, head: list[str], rows: tuple[tuple[str, ...], ...], key: str) -> Markup:
    return element("details", element("summary", title), table(head, rows, id=key))
