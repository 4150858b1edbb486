"""Neurons of a mixture of experts, seen and changed through the experts' public interface.

The experts' module takes `(hidden_states [S, D], top_k_index [S, K], top_k_weights [S, K])`, whichever kernel then
computes it, so its own forward is left alone. What its neurons were is computed again from the very same input by the
module's own gate. An edit adds to its output what the edited neurons write beyond the old ones, exactly 0 where
nothing was changed.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from actkit.hooks import Probe
    from actkit.sites import Site

KINDS = ("expert_weights", "mlp_post")
FIELDS = {"hidden": "hidden_states", "chosen": "top_k_index", "weights": "top_k_weights"}
"""What the interface calls the fields of `Routed`."""


class Routed(NamedTuple):
    """What the router handed to the experts, S tokens and the K experts each goes to."""

    hidden: Float[Tensor, "S D"]
    chosen: Int[Tensor, "S K"]
    weights: Float[Tensor, "S K"]


def serves(module: nn.Module) -> bool:
    """Whether a module follows Hugging Face's experts interface."""
    return all(
        hasattr(module, name) for name in ("_apply_gate", "has_gate", "is_transposed", "down_proj", "num_experts")
    )


def visited(probe: "Probe", sites: dict[str, "Site"], experts: nn.Module, routed: Routed, out: Tensor) -> Tensor:
    """The experts' output after edits of their neurons and routing weights; the very same tensor without any."""
    weights, neurons = _spread(experts, routed), _neurons(experts, routed)
    new_weights = _through(probe, sites.get("expert_weights"), weights)
    new_neurons = _through(probe, sites.get("mlp_post"), neurons)
    if torch.is_grad_enabled():
        # Gradients must pass through the neurons that were captured, and through nothing a second time.
        out, neurons, weights = out.detach(), neurons.detach(), weights.detach()
    elif new_weights is weights and new_neurons is neurons:
        return out
    after = _written(experts, new_neurons, new_weights)
    return out + (after - _written(experts, neurons, weights)).view_as(out)


def _through(probe: "Probe", site: "Site | None", x: Tensor) -> Tensor:
    if site is None:
        return x
    folded = x.view(*probe.shape, *x.shape[1:])
    new = probe.through(site, folded)
    # A captured tensor must be the one the output is computed from, or no gradient would reach it.
    return x if new is folded and not torch.is_grad_enabled() else new.view_as(x)


def _spread(experts: Any, routed: Routed) -> Float[Tensor, "S E"]:
    """Routing weight of every expert, 0 where a token does not go to it."""
    spread = routed.weights.new_zeros(len(routed.hidden), experts.num_experts)
    return spread.scatter_add(1, routed.chosen, routed.weights)


def _neurons(experts: Any, routed: Routed) -> Float[Tensor, "S E N"]:
    """Activations of every expert's neurons, before the routing weight; 0 where a token does not go to the expert."""
    width = experts.down_proj.shape[1 if experts.is_transposed else 2]
    found = routed.hidden.new_zeros(len(routed.hidden), experts.num_experts, width)
    for e in routed.chosen.unique().tolist():
        tokens = (routed.chosen == e).any(-1).nonzero()[:, 0]
        name = "gate_up_proj" if experts.has_gate else "up_proj"
        up = _linear(experts, name, e, routed.hidden[tokens])
        found[tokens, e] = experts._apply_gate(up) if experts.has_gate else experts.act_fn(up)
    return found


def _written(experts: Any, neurons: Float[Tensor, "S E N"], weights: Float[Tensor, "S E"]) -> Float[Tensor, "S D"]:
    """The weighted sum of what the experts write."""
    total = torch.zeros_like(neurons[:, 0, :1])
    for e in weights.any(0).nonzero()[:, 0].tolist():
        out = _linear(experts, "down_proj", e, neurons[:, e])
        out = experts.post_expert_norm(out) if experts.has_post_expert_norm else out
        total = total + out * weights[:, e, None]
    return total


def _linear(experts: Any, name: str, e: int, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
    weight = getattr(experts, name)[e]
    bias = getattr(experts, f"{name}_bias")[e] if experts.has_bias else None
    return functional.linear(x, weight.T if experts.is_transposed else weight, bias)


def value_vectors(experts: Any) -> Float[Tensor, "E N D"]:
    """Row [e, i] is what neuron i of expert e writes per unit of activation and routing weight."""
    down = experts.down_proj
    return down if experts.is_transposed else down.transpose(1, 2)
