"""Evaluation by the field's protocols: `evaluate_zero_shot`, and what its records can be turned into."""

from __future__ import annotations

from hf_zsar.lazy import lazy_names


# public name -> module that defines it; loaded on first use
_NAMES = {
    "Comparison": "comparison",
    "ModelFacts": "zero_shot",
    "PROTOCOLS": "protocol_builders",
    "Protocol": "protocols",
    "Split": "protocols",
    "compare": "comparison",
    "eval_result_entries": "reports",
    "evaluate_zero_shot": "zero_shot",
    "load_metric": "metrics",
    "load_protocol": "protocol_builders",
    "load_record": "records",
    "manifest_protocol": "manifest",
    "markdown_table": "reports",
    "model_index_results": "reports",
    "plot_result": ".plots.evaluation",
    "save_eval_results": "reports",
    "save_record": "records",
    "text_report": "reports",
}

__all__ = list(_NAMES)

__getattr__, __dir__ = lazy_names(__name__, _NAMES)
