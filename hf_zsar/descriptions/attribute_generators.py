"""Generators of description attributes (card of DA-STI, S1 and R5): a bank asks one label by label.

The extractor for given texts is `hf_zsar.descriptions.keywords.KeywordExtractor`. The prompt and the choice of the
model are ours: the paper's were not available to us.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hf_zsar.processing.action_graph import canonical_key

from .journal import Journal, cache_key
from .keywords import KeywordExtractor, keep_distinct
from .language_model import LanguageModel, Message, PromptTooLongError
from .replies import parse_attributes


ATTRIBUTE_PROMPT = (
    'You list visual keywords for an action-recognition system. Action: "{label}". Descriptions: '
    "{descriptions}. Give exactly {n} short keyword phrases (1-3 words each, lower case) naming objects, body "
    "movements, places or participants that can be seen in a silent video of this action. Use the meaning "
    "given by the descriptions. Do not repeat the action's name. Answer with a JSON array of strings only."
)
# Longer texts are cut for the prompt, so that a page per label does not overrun a small model.
MAX_TEXTS, MAX_TEXT_CHARACTERS = 6, 1200


class AttributeGenerator(Protocol):
    """What `build_attribute_bank` needs. `kind` is "manual", "extractor" or "llm"."""

    kind: str
    name: str
    params: Mapping[str, Any]

    def generate(
        self, label: str, descriptions: Sequence[str] = (), n: int = 8, context: Sequence[str] = ()
    ) -> list[str]:
        """At most `n` attributes of a label, best first; none when the generator has nothing to go by."""
        ...


class TransformersLLMGenerator:
    """Attributes from any text-generation model.

    Greedy decoding; a reply with too few usable attributes is followed by one question for the missing ones; what is
    still missing is taken from the descriptions, if there are some. Answers are kept in the journal under the label
    and a hash of the prompt and the model, so that an interrupted run goes on where it stopped.

    Args:
        llm: see `LanguageModel.of`.
        journal: a `Journal` or the path of one.
        max_new_tokens: limit of a reply.
    """

    kind = "llm"

    def __init__(
        self, llm: Any, journal: Journal | str | os.PathLike | None = None, max_new_tokens: int = 128
    ) -> None:
        self.llm = LanguageModel.of(llm)
        self.name, self.revision = self.llm.name, self.llm.revision
        self.journal = journal if isinstance(journal, Journal) else Journal(journal)
        self.params = {"max_new_tokens": max_new_tokens, "do_sample": False}
        self.prompt = ATTRIBUTE_PROMPT
        self.extractor = KeywordExtractor()
        self.made_by = ""

    def generate(
        self, label: str, descriptions: Sequence[str] = (), n: int = 8, context: Sequence[str] = ()
    ) -> list[str]:
        """At most `n` attributes; `made_by` then says where they come from."""
        messages = self.messages(label, descriptions, n)
        key = cache_key(label, "attributes", n, messages, self.name, self.revision, self.params)
        record = self.journal.get(key)
        if record is None:
            found, replies = self._ask(label, messages, n)
            record = self.journal.put(key, label, attributes=found, replies=replies)
        attributes = list(record["attributes"])
        self.made_by = "llm" if attributes else ""
        if len(attributes) < n and descriptions:
            more = self.extractor.generate(label, descriptions, n)
            topped_up = keep_distinct([*attributes, *more], canonical_key(label))[:n]
            self.made_by = "+".join(filter(None, [self.made_by, "rake" if len(topped_up) > len(attributes) else ""]))
            return topped_up
        return attributes[:n]

    def messages(self, label: str, descriptions: Sequence[str], n: int) -> list[Message]:
        """The question."""
        text = self.prompt.format(label=canonical_key(label), descriptions=numbered(descriptions), n=n)
        return [{"role": "user", "content": text}]

    def _ask(self, label: str, messages: list[Message], n: int) -> tuple[list[str], list[str]]:
        """The attributes, and the replies that they were read from."""
        action = canonical_key(label)
        limit = self.params["max_new_tokens"]
        replies = [self.llm.reply(messages, limit)]
        attributes = keep_distinct(parse_attributes(replies[0]), action)
        if len(attributes) < n:
            again = f"Give {n - len(attributes)} more such phrases, different from the ones so far, as a JSON array."
            said = {"role": "assistant", "content": replies[0] or "[]"}
            try:
                replies.append(self.llm.reply([*messages, said, {"role": "user", "content": again}], limit))
            except PromptTooLongError:
                return attributes, replies
            attributes = keep_distinct([*attributes, *parse_attributes(replies[1])], action)
        return attributes[:n], replies


def numbered(descriptions: Sequence[str]) -> str:
    """`(1) first text (2) second text`, cut to what fits a small context; "none" for none."""
    texts = [" ".join(text.split())[:MAX_TEXT_CHARACTERS] for text in descriptions if text.strip()][:MAX_TEXTS]
    return " ".join(f"({number}) {text}" for number, text in enumerate(texts, start=1)) or "none"
