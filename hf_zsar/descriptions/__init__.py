"""Text knowledge about labels, made offline: description attributes (DA-STI) and action graphs (STDD).

The files themselves, and what reads them at run time, are in `hf_zsar.processing.descriptions`; here is what makes,
imports, checks and draws them. Names are loaded when they are used.
"""

from __future__ import annotations

from hf_zsar.lazy import lazy_names


_NAMES = {
    "TransformersLLMGenerator": "attribute_generators",
    "build_attribute_bank": "build",
    "build_graph_bank": "build",
    "draw_graph": ".plots.graph",
    "to_networkx": ".plots.graph",
    "TextGraphs": "graphs_from_text",
    "Journal": "journal",
    "KeywordExtractor": "keywords",
    "LanguageModel": "language_model",
    "LLMGraphs": "llm_graphs",
    "Review": "review",
    "review_file": "review",
    "Texts": "sources",
    "read_texts": "sources",
    "import_stdd_yaml": "stdd_yaml",
}

__all__ = sorted(_NAMES)

__getattr__, __dir__ = lazy_names(__name__, _NAMES)
