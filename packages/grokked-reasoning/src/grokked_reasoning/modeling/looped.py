"""GPT-2 whose block stack runs several times: a Hugging Face model of its own.

Wang et al. (2024), section 4 and appendix E.2 (parameter sharing across layers). The stack of `blocks` blocks is run
`loops` times; embeddings and positions are added once, the final norm comes after the last run. Every run has modules
of its own (norms, attention, MLP) whose parameters are those of the first run, so hooks, the key-value cache, the
logit lens and causal tracing see blocks x loops layers and need to know nothing about loops.
"""

from typing import Any, cast

from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel


class LoopedGPT2Config(GPT2Config):
    """GPT2Config with `blocks` different blocks, run `loops` times; `n_layer` is always their product.

    More loops than in training may be asked for when loading: `from_pretrained(folder, loops=4)`.
    """

    model_type = "looped_gpt2"

    blocks: int = 4
    loops: int = 2

    def __post_init__(self, **kwargs: Any) -> None:
        self.n_layer = self.blocks * self.loops
        super().__post_init__(**kwargs)


class LoopedGPT2LMHeadModel(GPT2LMHeadModel):
    """GPT-2 with a language-model head whose blocks run `config.loops` times; saved with each parameter once."""

    config_class = LoopedGPT2Config

    def __init__(self, config: LoopedGPT2Config) -> None:
        config.n_layer = config.blocks * config.loops
        super().__init__(config)
        self.share()

    def share(self) -> None:
        """Give the blocks of every run the parameters of the first run."""
        self._tied_weights_keys = {
            **GPT2LMHeadModel._tied_weights_keys,
            **_shared(self, cast("LoopedGPT2Config", self.config)),
        }
        self.tie_weights()
        self.all_tied_weights_keys = self.get_expanded_tied_weights_keys(all_submodels=True)

    def _adjust_bias(self, output_embeddings: nn.Module, input_embeddings: nn.Module) -> None:
        """Nothing: Hugging Face pads biases to tied embeddings here, and would pad the blocks' to their inputs."""


def _shared(model: nn.Module, config: LoopedGPT2Config) -> dict[str, str]:
    """Parameter of a later run -> that of the first run it is."""
    stack: Any = model.get_submodule("transformer.h")
    return {
        f"transformer.h.{i}.{name}": f"transformer.h.{i % config.blocks}.{name}"
        for i in range(config.blocks, len(stack))
        for name, _ in stack[i].named_parameters()
    }
