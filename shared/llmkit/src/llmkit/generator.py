"""Greedy decoding of prompts of different lengths with a Hugging Face model."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from jinja2 import TemplateError
from pydantic import BaseModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, StoppingCriteria, StoppingCriteriaList

from llmkit.answer import holds
from llmkit.backend import Completion, Failed, Request, json_wanted, with_instruction
from llmkit.errors import LLMKitError, UsageError
from llmkit.question import Message

if TYPE_CHECKING:
    from llmkit.local import Local


class Prompt(NamedTuple):
    """A request as the model gets it: its text, its token ids, how many may follow, and the form of the answer."""

    text: str
    ids: list[int]
    room: int
    form: type[BaseModel]


class Generator:
    """A model and its tokenizer.

    Attributes:
        stop: set it, and decoding ends after the token in hand.
    """

    def __init__(self, model: Any, tokenizer: Any, max_tokens: int) -> None:
        self._model, self._tokenizer, self._max_tokens = model, tokenizer, max_tokens
        self._ends = _ends(model, tokenizer)
        self._pad = next((each for each in (tokenizer.pad_token_id, *sorted(self._ends)) if each is not None), 0)
        # Replaced whole: what a model ships (penalties, sampling) would make the answer something else than greedy.
        model.generation_config = GenerationConfig(
            do_sample=False, eos_token_id=sorted(self._ends) or None, pad_token_id=self._pad
        )
        self.stop = threading.Event()
        self._most: int | None = None  # prompts that fit into memory together, once that is known

    @classmethod
    def load(cls, local: "Local") -> "Generator":
        """The model of `local`, ready on its device.

        Raises:
            UsageError: there is no such model, device or dtype, or it has no tokenizer.
        """
        dtype = local.dtype if local.dtype == "auto" else getattr(torch, local.dtype, None)
        if not isinstance(dtype, str | torch.dtype):
            raise UsageError(f"{local.dtype!r} is no dtype: give auto, float32, bfloat16 or float16")
        offline = Path(local.place).is_dir()
        tokenizers: Any = AutoTokenizer
        models: Any = AutoModelForCausalLM
        try:
            tokenizer = tokenizers.from_pretrained(local.place, local_files_only=offline, trust_remote_code=False)
            # What a checkpoint holds is never run: no code of its own, and no pickle.
            model = models.from_pretrained(
                local.place, dtype=dtype, local_files_only=offline, trust_remote_code=False, use_safetensors=True
            )
            return cls(model.to(_device(local.device)).eval(), tokenizer, local.max_tokens)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise UsageError(
                f"the local model {local.place} cannot be loaded: {_reason(local.place, error)}"
            ) from error

    def prompt(self, request: Request) -> Prompt:
        """The request in the model's chat template, or, where it has none, its messages one after the other.

        Raises:
            Failed: it leaves no room for an answer.
        """
        messages = with_instruction(request.messages, json_wanted(request.schema))
        chat = self._tokenizer.chat_template is not None
        text = self._chat(messages) if chat else "\n\n".join(each["content"] for each in messages) + "\n"
        ids = list(self._tokenizer(text, add_special_tokens=not chat)["input_ids"])
        longest = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        room = self._max_tokens if longest is None else min(self._max_tokens, longest - len(ids))
        if room < 1:
            raise Failed(f"the prompt takes {len(ids)} tokens; the model takes {longest}, its answer included")
        return Prompt(text, ids, room, request.answer)

    @torch.no_grad()
    def answer(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """What the model writes after each prompt: to its end, to a whole answer, or for as many tokens as may follow.

        Raises:
            LLMKitError: a single prompt does not fit into the device's memory.
        """
        # A row that has ended is computed on with the others, and must not leave the model's positions meanwhile.
        cramped = [[prompt] for prompt in prompts if prompt.room < self._max_tokens]
        roomy = [prompt for prompt in prompts if prompt.room == self._max_tokens]
        answers: dict[int, Completion] = {}
        for group in filter(None, [roomy, *cramped]):
            answers |= zip(map(id, group), self._fitting(group), strict=True)
        return [answers[id(prompt)] for prompt in prompts]

    def _fitting(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answers to all together, or, where these do not fit into memory, to fewer at a time from then on."""
        made: list[Completion] = []
        while rest := prompts[len(made) :][: self._most]:
            try:
                made += self._batch(rest)
            except torch.OutOfMemoryError as error:
                if len(rest) == 1:
                    raise LLMKitError(f"a prompt of {len(rest[0].ids)} tokens does not fit into memory") from error
                self._most = (len(rest) + 1) // 2
        return made

    def _batch(self, prompts: Sequence[Prompt]) -> list[Completion]:
        width = max(len(prompt.ids) for prompt in prompts)
        ids = torch.tensor([[self._pad] * (width - len(each.ids)) + each.ids for each in prompts])
        mask = torch.tensor([[0] * (width - len(each.ids)) + [1] * len(each.ids) for each in prompts])
        device = self._model.device
        done = _Done(self._tokenizer, self._ends, prompts, self.stop)
        self._model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=max(prompt.room for prompt in prompts),
            stopping_criteria=StoppingCriteriaList([done]),
        )
        return done.completions()

    def _chat(self, messages: Sequence[Message]) -> str:
        try:
            return self._render(messages)
        except TemplateError:  # some templates know no system message
            return self._render(_without_system(messages))

    def _render(self, messages: Sequence[Message]) -> str:
        return self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)


class _Done(StoppingCriteria):
    """Follows a batch token by token: ends each row by itself, and knows why."""

    def __init__(self, tokenizer: Any, ends: frozenset[int], prompts: Sequence[Prompt], stop: threading.Event) -> None:
        self._tokenizer, self._ends, self._prompts, self._stop = tokenizer, ends, prompts, stop
        self._new: list[list[int]] = [[] for _ in prompts]
        self._finish: list[str] = ["" for _ in prompts]

    def __call__(self, input_ids: Any, *_: Any, **__: Any) -> Any:
        for row, token in enumerate(input_ids[:, -1].tolist()):
            if not self._finish[row]:
                self._new[row].append(token)
                self._finish[row] = self._ending(row)
        ended = [bool(finish) or self._stop.is_set() for finish in self._finish]
        return torch.tensor(ended, device=input_ids.device)

    def completions(self) -> list[Completion]:
        """What each row wrote, and why it ended."""
        return [
            Completion(self._text(row), self._finish[row] or "length", "", len(prompt.ids), len(self._new[row]))
            for row, prompt in enumerate(self._prompts)
        ]

    def _ending(self, row: int) -> str:
        """Why the row ends here; empty where it goes on."""
        new, prompt = self._new[row], self._prompts[row]
        if new[-1] in self._ends:
            return "stop"
        if "}" in self._tokenizer.decode(new[-1:]) and holds(self._text(row), prompt.form):
            return "stop"  # models that were not taught to stop would go on with a question of their own
        return "length" if len(new) == prompt.room else ""

    def _text(self, row: int) -> str:
        return str(self._tokenizer.decode(self._new[row], skip_special_tokens=True))


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that means the end: the tokenizer's and the model's own."""
    told = model.generation_config.eos_token_id
    listed = cast("list[Any]", told) if isinstance(told, list) else [told]
    return frozenset(each for each in (tokenizer.eos_token_id, *listed) if each is not None)


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """A system message becomes the beginning of the user's first."""
    first, *rest = messages
    if first["role"] != "system" or not rest:
        return list(messages)
    return [Message(role=rest[0]["role"], content=f"{first['content']}\n\n{rest[0]['content']}"), *rest[1:]]


def _reason(place: str, error: Exception) -> str:
    """Why not, where it is because what a model brings is never run: the library's words say how it would be."""
    if "trust_remote_code" in str(error):
        return "it comes with code of its own, which is never run"
    pickles = sorted(path for path in Path(place).glob("*.bin") if path.name != "training_args.bin")
    if pickles and not any(Path(place).glob("*.safetensors")):
        return f"{pickles[0]} is a pickle, which can run any code when it is read: save it as safetensors"
    return str(error)


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
