"""CLIP's own tokenizer, out of the vocabulary file that the package openai-clip carries."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

from transformers import CLIPTokenizer


def clip_tokenizer() -> CLIPTokenizer | None:
    """CLIP's 49,408 tokens, built from the list of merges in their published order; None without the package."""
    package = importlib.util.find_spec("clip")
    path = Path(package.origin).parent / "bpe_simple_vocab_16e6.txt.gz" if package and package.origin else None
    if path is None or not path.is_file():
        return None
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable] + [chr(256 + position) for position in range(256 - len(printable))]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=merges, model_max_length=77)
