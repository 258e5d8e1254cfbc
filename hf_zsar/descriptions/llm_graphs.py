"""Action graphs from a language model, in two questions: the graph, then its relations as clauses (card of STDD, S6).

The questions and the worked example are ours. The released graphs were made with GPT-3.5; any text-generation model
goes here. What a model gets wrong twice is made from the descriptions without it instead, and the file says so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from hf_zsar.processing.action_graph import RELATIONS, ActionGraph, canonical_key, sub_action_chain

from .attribute_generators import numbered
from .graphs_from_text import TextGraphs
from .journal import Journal, cache_key
from .language_model import LanguageModel, Message, PromptTooLongError
from .replies import parse_clauses, parse_graph


GRAPH_SYSTEM = (
    "You know how everyday actions look on video. For the action that you are given you write down, as YAML "
    "and without any other text: `objects`, the 5 to 10 things that matter most in it; `object_relations`, how "
    "these things stand to each other, as triples [thing, short predicate, thing]; `action_relations`, what "
    "each thing is to the action, as triples [action, short predicate, thing]; `sub_actions`, the steps of the "
    "action in the order in which they happen, each starting with a verb."
)
GRAPH_QUESTION = "action entity: [{action}]"
EXAMPLE_ACTION = "peeling an orange"
EXAMPLE_GRAPH = """\
objects: [orange, peel, fruit, fingers, plate]
object_relations:
- [peel, separated from, fruit]
- [orange, lying on, plate]
action_relations:
- [peeling an orange, requires, fingers]
- [peeling an orange, involves, orange]
sub_actions: [hold the orange, pierce the peel, pull it away]"""

CLAUSE_SYSTEM = (
    "You put relations into words. You are given an action and numbered triples in up to three groups: oo (two "
    "things), ao (the action and a thing), aa (steps of the action). For each triple write one clause that "
    'completes the sentence "This is an example of {action}, ...". Do not repeat the action, write only what '
    "stands behind the comma. Answer as YAML without any other text: each group with its clauses as a list, "
    "one per triple, in the same order."
)
EXAMPLE_CLAUSES = {
    "oo": ["where the peel is separated from the fruit", "where the orange is lying on the plate"],
    "ao": ["which requires fingers", "which involves the orange"],
    "aa": [
        "starting with holding the orange",
        "where holding the orange comes before piercing the peel",
        "where piercing the peel comes before pulling it away",
    ],
}


class LLMGraphs:
    """Makes an `ActionGraph` for a label with any text-generation model.

    Args:
        llm: see `LanguageModel.of`.
        journal: a `Journal` or the path of one; answers are kept under the label and a hash of prompt and model.
        retries: how often a malformed answer is sent back with a complaint.
        verbalize: whether the model also writes the clauses; otherwise fixed rules do.
        max_new_tokens: limit of a reply.
    """

    kind = "llm"

    def __init__(
        self,
        llm: Any,
        journal: Journal | str | os.PathLike | None = None,
        retries: int = 2,
        verbalize: bool = True,
        max_new_tokens: int = 768,
    ) -> None:
        self.llm = LanguageModel.of(llm)
        self.name, self.revision = self.llm.name, self.llm.revision
        self.journal = journal if isinstance(journal, Journal) else Journal(journal)
        self.retries, self.verbalize = retries, verbalize
        self.params = {
            "max_new_tokens": max_new_tokens,
            "do_sample": False,
            "retries": retries,
            "verbalize": verbalize,
        }
        self.prompt = "\n".join([GRAPH_SYSTEM, GRAPH_QUESTION, *([CLAUSE_SYSTEM] if verbalize else [])])
        self.fallback = TextGraphs()
        self.made_by = ""

    def generate(self, label: str, descriptions: Sequence[str] = ()) -> ActionGraph:
        """The graph, with its clauses written out; `made_by` then says where it comes from."""
        action = canonical_key(label)
        messages = graph_messages(action, descriptions)
        key = cache_key(label, "graph", messages, self.name, self.revision, self.params, self.prompt)
        record = self.journal.get(key)
        if record is None:
            graph, replies = self._ask(action, messages)
            record = self.journal.put(key, label, graph=graph.to_dict() if graph else None, replies=replies)
        if record["graph"] is None:
            self.made_by = self.fallback.name
            return self.fallback.generate(label, descriptions)
        self.made_by = "llm"
        return ActionGraph.from_dict(action, record["graph"])

    def _ask(self, action: str, messages: list[Message]) -> tuple[ActionGraph | None, list[str]]:
        replies: list[str] = []
        conversation = messages
        for _ in range(1 + self.retries):
            try:
                replies.append(self.llm.reply(conversation, self.params["max_new_tokens"]))
            except PromptTooLongError:
                if not replies:
                    raise
                break  # no room left for a second try
            graph = parse_graph(replies[-1], action)
            complaint = _complaint(graph)
            if graph is not None and not complaint:
                return self._with_clauses(_completed(graph), replies), replies
            conversation = [
                *messages,
                {"role": "assistant", "content": replies[-1][:1000] or "(nothing)"},
                {"role": "user", "content": f"{complaint} {GRAPH_QUESTION.format(action=action)}"},
            ]
        return None, replies

    def _with_clauses(self, graph: ActionGraph, replies: list[str]) -> ActionGraph:
        """Clauses by the model where it gives one per relation, by rule for the rest."""
        if not self.verbalize:
            return graph.with_clauses()
        try:
            replies.append(self.llm.reply(clause_messages(graph), self.params["max_new_tokens"]))
        except PromptTooLongError:
            return graph.with_clauses()
        clauses = parse_clauses(replies[-1], {kind: len(graph.triples(kind)) for kind in RELATIONS})
        return replace(graph, clauses=clauses).with_clauses()


def _complaint(graph: ActionGraph | None) -> str:
    if graph is None:
        return "That was not YAML with the objects, object_relations, action_relations and sub_actions. Try again."
    missing = [name for name in ("objects", "sub_actions") if not getattr(graph, name)]
    return f"The field {' and '.join(missing)} is missing or empty. Try again." if missing else ""


def _completed(graph: ActionGraph) -> ActionGraph:
    """The graph with the order of its sub-actions as relations, which the model is not asked for."""
    order = graph.relations.get("aa") or sub_action_chain(graph.action, graph.sub_actions)
    return replace(graph, relations={**graph.relations, "aa": order})


def graph_messages(action: str, descriptions: Sequence[str] = ()) -> list[Message]:
    """The first question, after one worked example."""
    question = GRAPH_QUESTION.format(action=action)
    if any(text.strip() for text in descriptions):
        question += f"\nwhat is meant: {numbered(descriptions)}"
    return [
        {"role": "system", "content": GRAPH_SYSTEM},
        {"role": "user", "content": GRAPH_QUESTION.format(action=EXAMPLE_ACTION)},
        {"role": "assistant", "content": EXAMPLE_GRAPH},
        {"role": "user", "content": question},
    ]


def clause_messages(graph: ActionGraph) -> list[Message]:
    """The second question, after one worked example."""
    example = cast(ActionGraph, parse_graph(EXAMPLE_GRAPH, EXAMPLE_ACTION))
    return [
        {"role": "system", "content": CLAUSE_SYSTEM.replace("{action}", "<action>")},
        {"role": "user", "content": _triples_as_text(_completed(example))},
        {"role": "assistant", "content": _clauses_as_yaml(EXAMPLE_CLAUSES)},
        {"role": "user", "content": _triples_as_text(graph)},
    ]


def _triples_as_text(graph: ActionGraph) -> str:
    lines = [f"action: {graph.action}"]
    for kind in RELATIONS:
        triples = graph.triples(kind)
        if triples:
            lines += [f"{kind}:", *(f"{i}. [{', '.join(triple)}]" for i, triple in enumerate(triples, start=1))]
    return "\n".join(lines)


def _clauses_as_yaml(clauses: dict[str, list[str]]) -> str:
    lines: list[str] = []
    for kind, texts in clauses.items():
        lines += [f"{kind}:", *(f"- {json.dumps(text)}" for text in texts)]
    return "\n".join(lines)
