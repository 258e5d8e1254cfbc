"""Any text-generation model behind one call: messages in, a reply out, greedy and therefore repeatable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


# {"role": "system" | "user" | "assistant", "content": text}
Message = Mapping[str, str]


class PromptTooLongError(ValueError):
    """The question does not fit into what the model can look at."""


class LanguageModel:
    """A chat or plain text-generation model.

    Use `LanguageModel.of`, which takes whatever there is: a Hub id or folder, a transformers pipeline, a pair
    (model, tokenizer), or a function of the messages (an API client, a test).

    Args:
        name: what is recorded as the model.
        ask: messages, limit of new tokens -> reply.
        revision: recorded too.
    """

    def __init__(self, name: str, ask: Callable[[list[Message], int], str], revision: str | None = None) -> None:
        self.name, self.revision, self._ask = name, revision, ask

    def reply(self, messages: Sequence[Message], max_new_tokens: int) -> str:
        """The model's answer, without the conversation before it."""
        return self._ask(list(messages), max_new_tokens)

    @classmethod
    def of(cls, llm: Any, device: str | None = None, revision: str | None = None) -> LanguageModel:
        """Make one of `llm`.

        Args:
            llm: a name or folder (loaded with transformers, causal or encoder-decoder), a text-generation pipeline, a
                pair (model, tokenizer), or a function `messages -> reply`.
            device: where a model is put that is loaded here; default: an accelerator if there is one.
            revision: branch, tag or commit of a model that is loaded here.

        Raises:
            OSError: no such model.
            TypeError: `llm` is none of these.
        """
        if isinstance(llm, LanguageModel):
            return llm
        if isinstance(llm, str):
            return cls(llm, _Generator(*_load(llm, device, revision)), revision)
        if isinstance(llm, tuple) and len(llm) == 2:
            return cls(_name_of(llm[0]), _Generator(*llm))
        if hasattr(llm, "model") and hasattr(llm, "tokenizer"):
            return cls(_name_of(llm.model), _Generator(llm.model, llm.tokenizer))
        if callable(llm):
            return cls(getattr(llm, "__name__", type(llm).__name__), lambda messages, _: llm(messages))
        raise TypeError(
            f"Cannot use {type(llm).__name__} as a language model: pass a name, a pipeline, a pair (model, tokenizer) "
            "or a function of the messages."
        )


def _name_of(model: Any) -> str:
    return getattr(model, "name_or_path", "") or type(model).__name__


def _load(name: str, device: str | None, revision: str | None) -> tuple[Any, Any]:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    from hf_zsar.hub.loading import check_folder, check_missing, readable
    from hf_zsar.modeling.size_limits import check_sizes

    with readable(name):
        check_folder(name)
        config = AutoConfig.from_pretrained(name, revision=revision)
        check_sizes(config.to_dict())
        factory: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model, info = factory.from_pretrained(name, revision=revision, dtype="auto", output_loading_info=True)
        check_missing(model, info["missing_keys"])
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return model.to(device or accelerator or "cpu").eval(), tokenizer


class _Generator:
    """Greedy decoding with a transformers model."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer

    def __call__(self, messages: list[Message], max_new_tokens: int) -> str:
        import torch

        encoded = self._encode(messages).to(self.model.device)
        length = encoded["input_ids"].shape[1]
        room = self._context() - (0 if self.model.config.is_encoder_decoder else length)
        if room < 16 or length > self._context():
            raise PromptTooLongError(
                f"The prompt has {length} tokens, too many for the {self._context()} of {_name_of(self.model)}; "
                "give shorter texts or a model with a longer context."
            )
        with torch.inference_mode():
            output = self.model.generate(
                **encoded,
                max_new_tokens=min(max_new_tokens, room),
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=self._pad_token(),
            )
        new = output[0] if self.model.config.is_encoder_decoder else output[0, length:]
        return self.tokenizer.decode(new, skip_special_tokens=True)

    def _encode(self, messages: list[Message]) -> Any:
        if not getattr(self.tokenizer, "chat_template", None):
            return self.tokenizer(plain_prompt(messages), return_tensors="pt", return_token_type_ids=False)
        from jinja2 import TemplateError

        options = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}
        try:
            return self.tokenizer.apply_chat_template([dict(message) for message in messages], **options)
        except TemplateError:  # some templates know no system role
            return self.tokenizer.apply_chat_template(without_system(messages), **options)

    def _context(self) -> int:
        """How many tokens the model can look at; some tokenizers say 1e30 for "unknown"."""
        config = self.model.config
        limits = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions")]
        limits.append(self.tokenizer.model_max_length)
        return min([int(limit) for limit in limits if limit and limit < 10**7], default=10**6)

    def _pad_token(self) -> int | None:
        eos = self.model.generation_config.eos_token_id
        eos = eos[0] if isinstance(eos, list) and eos else eos
        return self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else eos


def plain_prompt(messages: Sequence[Message]) -> str:
    """A conversation as text, for models without a chat template."""
    names = {"system": "Instruction", "user": "Question", "assistant": "Answer"}
    return "\n\n".join([*(f"{names[m['role']]}: {m['content']}" for m in messages), "Answer:"])


def without_system(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The conversation with the system text put in front of the first question."""
    system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    rest = [dict(message) for message in messages if message["role"] != "system"]
    if system and rest:
        rest[0]["content"] = f"{system}\n\n{rest[0]['content']}"
    return rest
