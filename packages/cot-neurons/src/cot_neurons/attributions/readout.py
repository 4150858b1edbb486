"""The final norm and the unembedding in float32 or better, whatever the model's own dtype.

One neuron's share is far below what bfloat16 can tell apart in a sum.
"""

import torch
from actkit import Model
from actkit.frozen import frozen
from actkit.model import held
from jaxtyping import Float, Int
from runkit.errors import UsageError
from torch import Tensor, nn
from torch.func import functional_call

_AT_ONCE = 1 << 26  # logits held at a time: 256 MB in float32


class Readout:
    """Reads residual streams as the model's own head does."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.dtype = torch.promote_types(model.hf.dtype, torch.float32)
        self._norm = model.hf.get_submodule(model.family.final_norm) if model.family.final_norm else None
        self._weights = {module: self._wide(module) for module in (self._norm, model.head) if module is not None}
        self._width = max(1, _AT_ONCE // model.dims.vocab)

    def logp(self, stream: Float[Tensor, "n D"], ids: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Log-probability, in nats, of token `ids[i]` when the head reads `stream[i]`."""
        ids = ids.to(self._model.head.weight.device)
        pieces = [
            self._logits(some).log_softmax(-1).gather(-1, at[:, None])[:, 0]
            for some, at in zip(stream.split(self._width), ids.split(self._width), strict=True)
        ]
        return torch.cat(pieces)

    def rows(self, ids: Int[Tensor, " u"]) -> Float[Tensor, "u D"]:
        """The direction of each token's logit in the normed stream."""
        return torch.cat([self._rows(some) for some in ids.split(self._width)])

    def directions(self, stream: Float[Tensor, "S D"], rows: Float[Tensor, "S D"]) -> Float[Tensor, "S D"]:
        """`rows` pulled back through the final norm with its scale held at the value it has for the last `stream`.

        Raises UsageError where that norm is neither a LayerNorm nor an RMSNorm.
        """
        if self._norm is None:
            return rows
        norm = frozen(self._norm, stream)
        if norm is None:
            name = self._model.family.name
            raise UsageError(
                f"the final norm of {name} is neither LayerNorm nor RMSNorm: its logits are no sum of parts"
            )
        return norm.back(rows)

    def _rows(self, ids: Int[Tensor, " u"]) -> Float[Tensor, "u D"]:
        with torch.enable_grad():
            zero = self._model.head.weight.new_zeros(len(ids), self._model.dims.d_model, dtype=self.dtype)
            logits = self._through_head(zero.requires_grad_()).gather(-1, ids.to(zero.device)[:, None])
            return torch.autograd.grad(logits.sum(), zero)[0]

    def _logits(self, stream: Float[Tensor, "n D"]) -> Float[Tensor, "n V"]:
        model = self._model
        x = stream.to(model.head.weight.device)
        x = x if self._norm is None else functional_call(self._norm, self._weights[self._norm], (x,))
        logits = self._through_head(x)
        cap = getattr(model.hf.config, model.family.softcap, None) if model.family.softcap else None
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def _through_head(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n V"]:
        model = self._model
        inner = model.project_out(x.to(model.hf.dtype)).to(self.dtype) if model.family.project_out else x
        logits = functional_call(model.head, self._weights[model.head], (inner,))
        return logits * model.family.logit_scale(model.hf.config) if model.family.logit_scale else logits

    def _wide(self, module: nn.Module) -> dict[str, Tensor]:
        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        return {name: held(each).detach().to(self.dtype) for name, each in tensors.items()}
