"""Official checkpoint files to folders that `from_pretrained` reads; one module per source."""

from __future__ import annotations
