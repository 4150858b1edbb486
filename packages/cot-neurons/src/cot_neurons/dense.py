"""Which layers have neurons that can be looked at one by one."""

from runkit.errors import UsageError

from cot_neurons.subject import Subject


def layers(subject: Subject, stage: str) -> list[int]:
    """The layers with a dense MLP, in order.

    Raises UsageError where neurons are in experts, and actkit's UnknownSite where the model has none at all.
    """
    sites = subject.model.find("mlp_post.*")
    if any(site.tap.side == "inside" for site in sites):
        raise UsageError(f"{subject.model.family.name} has neurons in experts, which {stage} does not look at yet")
    return [site.layer for site in sites if site.layer is not None]
