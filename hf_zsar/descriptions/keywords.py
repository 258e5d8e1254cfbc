"""Description attributes out of given texts, without a language model (card of DA-STI, R5).

Candidates are noun phrases and verb phrases; a scorer orders them: `"rake"` (built in), `"yake"` (the YAKE package),
or any function of yours. Optionally a text tower re-ranks them by what it thinks of the label.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hf_zsar.processing.action_graph import canonical_key
from hf_zsar.processing.description_documents import normalize_attribute, normalize_attributes
from hf_zsar.processing.graph_clauses import gerund
from hf_zsar.processing.prompts import class_key

from .graphs_from_text import EMPTY_VERBS, things_of_label
from .reading import ANYBODY, NOTHING, Reading, clean_text, is_stop_word, read_text, root


# (text, how many) -> phrases with scores, the best first.
Scorer = Callable[[str, int], Sequence[tuple[str, float]]]
# Texts -> one vector each, `[n, D]`; any scale.
Embedder = Callable[[list[str]], Any]

MAX_WORDS = 3


class KeywordExtractor:
    """Attributes of a label from descriptions of it; deterministic, on the CPU, in milliseconds.

    Args:
        scorer: `"rake"`, `"yake"` (needs `hf-zsar[keywords]`) or a function of (text, n) that gives (phrase, score)
            pairs, best first, e.g. `lambda text, n: keybert_model.extract_keywords(text, top_n=n)`.
        embed: a text tower to re-rank the candidates with: texts -> vectors `[n, D]`.
        prompt: how a candidate or a label is put to the text tower, with one `{}`.
        trade_off: weight of relevance against novelty when re-ranking (maximal marginal relevance).
        pipeline: name of a spaCy pipeline for English; see `reading.english`.

    Raises:
        ImportError: `scorer="yake"` without the package.
        ValueError: an unknown scorer.
    """

    kind = "extractor"

    def __init__(
        self,
        scorer: str | Scorer = "rake",
        embed: Embedder | None = None,
        prompt: str = "a video of {}.",
        trade_off: float = 0.7,
        pipeline: str | None = None,
    ) -> None:
        if scorer == "yake" and importlib.util.find_spec("yake") is None:
            raise ImportError("scorer=\"yake\" needs the package yake: pip install 'hf-zsar[keywords]'")
        if not callable(scorer) and scorer not in ("rake", "yake"):
            raise ValueError(f'Unknown scorer {scorer!r}: use "rake", "yake" or a function of (text, n).')
        self.scorer, self.embed, self.prompt, self.trade_off = scorer, embed, prompt, trade_off
        self.pipeline = pipeline
        self.name = scorer if isinstance(scorer, str) else getattr(scorer, "__name__", "custom")
        self.params = {"rerank": embed is not None}

    def generate(
        self, label: str, descriptions: Sequence[str] = (), n: int = 8, context: Sequence[str] = ()
    ) -> list[str]:
        """At most `n` attributes, best first.

        Without descriptions only the label itself is left: the thing that it names, if any ("flipping a pancake" ->
        "pancake").

        Args:
            context: other labels; with `embed`, what fits them as well counts for less.
        """
        action = canonical_key(label)
        if not any(text.strip() for text in descriptions):
            return list(things_of_label(action, self.pipeline).values())[:n]
        candidates = keep_distinct(self._candidates(descriptions, n), action)
        if self.embed is not None and len(candidates) > 1:
            return rerank(candidates, action, self.embed, n, context, self.prompt, self.trade_off)
        return candidates[:n]

    def _candidates(self, descriptions: Sequence[str], n: int) -> list[str]:
        if self.scorer == "rake":
            return rake([read_text(text, self.pipeline) for text in descriptions])
        text = " ".join(_as_sentence(clean_text(description)) for description in descriptions)
        score = yake_scores if self.scorer == "yake" else self.scorer
        return [phrase for phrase, _ in score(text, 5 * n)]  # type: ignore[operator]


def _as_sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."


def rake(readings: Sequence[Reading]) -> list[str]:
    """Phrases by the score of RAKE (sum over their words of degree / frequency), ties in order of appearance.

    Unlike plain RAKE, which cuts a text at stop words, the phrases are things and movements with their object
    ("releasing arrow"), so that "archer draws" is none.
    """
    phrases = [phrase for reading in readings for phrase in _phrases_of(reading)]
    frequency: Counter[str] = Counter()
    degree: Counter[str] = Counter()
    for phrase in phrases:
        words = phrase.split()
        frequency.update(words)
        for word in words:
            degree[word] += len(words)
    scores = {phrase: sum(degree[word] / frequency[word] for word in phrase.split()) for phrase in phrases}
    return sorted(dict.fromkeys(phrases), key=lambda phrase: -scores[phrase])


def _phrases_of(reading: Reading) -> list[str]:
    things = [thing.text for thing in reading.things]
    movements = [
        " ".join(filter(None, [gerund(event.verb.lemma_.lower()), event.thing.lower_ if event.thing else ""]))
        for event in reading.events
        if event.verb.lemma_ not in EMPTY_VERBS and (event.thing is None or event.thing.pos_ != "PRON")
    ]
    return [phrase for phrase in [*things, *movements] if len(phrase.split()) <= MAX_WORDS]


def yake_scores(text: str, n: int) -> list[tuple[str, float]]:
    """Keywords of the YAKE package (one or two words, near-duplicates above 0.7 dropped); lower scores are better."""
    import yake

    return yake.KeywordExtractor(lan="en", n=2, dedupLim=0.7, top=n).extract_keywords(text)


def keep_distinct(candidates: Sequence[str], action: str) -> list[str]:
    """Normalized candidates that say something new, in order.

    Dropped: what is shorter than two or longer than forty characters, numbers, phrases of stop words and fillers, what
    only repeats the action ("dancing salsa" of "salsa dancing"), and what an earlier candidate has already. A thing
    that the action's name mentions ("soccer ball") is kept, but behind everything else.
    """
    own = _content_words(action)
    kept: list[str] = []
    of_label: list[str] = []
    contents: list[set[str]] = []
    for candidate in normalize_attributes(candidates):
        words = _content_words(candidate)
        if not 2 <= len(candidate) <= 40 or not words - NOTHING - ANYBODY or all(word.isdigit() for word in words):
            continue
        if words == own or any(words <= earlier for earlier in contents):
            continue
        (of_label if words < own else kept).append(candidate)
        contents.append(words)
    return kept + of_label


def _content_words(phrase: str) -> set[str]:
    """Roots of the words that mean something: one for "dance", "dancing" and "dances", and for "bow" and "bows"."""
    return {root(word) for word in phrase.split() if not is_stop_word(word)}


def rerank(
    candidates: Sequence[str],
    label: str,
    embed: Embedder,
    n: int,
    context: Sequence[str] = (),
    prompt: str = "a video of {}.",
    trade_off: float = 0.7,
) -> list[str]:
    """Pick `n` candidates by maximal marginal relevance in the space of a text tower.

    Relevance of a candidate = cosine of its prompt with the label's, minus the mean cosine with the prompts of the
    `context` labels (without the label itself). Each step takes the largest trade_off x relevance - (1 - trade_off) x
    cosine with the closest one already picked; ties go to the earlier candidate.
    """
    others = [other for other in context if class_key(other) != class_key(label)]
    vectors = np.asarray(embed([prompt.format(text) for text in [*candidates, label, *others]]), dtype=np.float64)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    items, target, rest = vectors[: len(candidates)], vectors[len(candidates)], vectors[len(candidates) + 1 :]
    relevance = items @ target - (items @ rest.T).mean(axis=1) if len(rest) else items @ target
    similarity = items @ items.T
    picked: list[int] = []
    while len(picked) < min(n, len(candidates)):
        novelty = similarity[:, picked].max(axis=1) if picked else np.zeros(len(candidates))
        gain = trade_off * relevance - (1 - trade_off) * novelty
        gain[picked] = -np.inf
        picked.append(int(np.argmax(gain)))
    return [normalize_attribute(candidates[index]) for index in picked]
