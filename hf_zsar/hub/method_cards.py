"""The card of each method, as it lies in `model_cards/`: `python -m hf_zsar.hub.method_cards` writes them anew."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from hf_zsar.methods import METHODS

from .cards import method_text, render_card
from .facts import CardFacts


def method_card(method: str) -> str:
    """The card of a method without weights."""
    return render_card(
        CardFacts(
            method=method,
            repo_id=f"your-name/{method}",
            model_name=str(method_text(method)["name"]),
            license="apache-2.0",
            has_weights=False,
        )
    )


def main() -> None:
    """Write every method's card beside its text."""
    folder = Path(str(resources.files("hf_zsar.model_cards")))
    for method in METHODS:
        (folder / f"{method}.md").write_text(method_card(method), encoding="utf-8")


if __name__ == "__main__":
    main()
