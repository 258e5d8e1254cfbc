"""The clauses of an action graph (STDD, arXiv 2412.09895), written out: all that prompts need of it."""

from __future__ import annotations


# Which kinds of clauses a prompt group takes; "a" is the label alone.
PROMPT_GROUPS: dict[str, tuple[str, ...]] = {
    "xmix": ("oo", "ao", "aa"),
    "xoo": ("oo",),
    "xao": ("ao",),
    "xaa": ("aa",),
    "a": (),
}


class Clauses(dict[str, tuple[str, ...]]):
    """Kind -> clauses. A value; what stands for an `ActionGraph` where that is not there (exports with code)."""

    def clause_list(self, group: str = "xmix") -> list[str]:
        """As `ActionGraph.clause_list`."""
        return list(dict.fromkeys(text for kind in PROMPT_GROUPS[group] for text in self.get(kind, ())))

    def to_dict(self) -> dict[str, dict[str, list[str]]]:
        """The entry of a graph file."""
        return {"clauses": {kind: list(texts) for kind, texts in self.items()}}
