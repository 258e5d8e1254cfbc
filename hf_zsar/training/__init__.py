"""Training: what the stock `Trainer` and Accelerate do not have."""

from __future__ import annotations

from hf_zsar.lazy import lazy_names


# public name -> module that defines it; loaded on first use
_NAMES = {
    "ClipAugmentation": "augmentation",
    "VideoTextCollator": "collator",
    "ZSARTrainer": "trainer",
    "class_accuracy": "metrics",
    "fit_prototypes": "prototypes",
    "freeze": "optimization",
    "load_recipe": "recipe",
    "parameter_counts": "optimization",
    "parameter_groups": "optimization",
    "train": "run",
    "with_candidates": "candidates",
}

__all__ = list(_NAMES)

__getattr__, __dir__ = lazy_names(__name__, _NAMES)
