"""Training: what the stock Trainer and Accelerate do not have."""

from __future__ import annotations
