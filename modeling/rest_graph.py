"""The label side of ResT as a graph (ONNX). Not a part of exports with code: only `hf_zsar.onnx` loads it."""

from __future__ import annotations

import torch
from torch import nn

from .modeling_rest import ResTModel
from .semantic_transfer import compose_prototypes, transfer_weights


class TransferGraph(nn.Module):
    """`encode_labels` of ResT. Which labels are seen classes themselves is an input, `seen_index [K]` (-1: none),
    because a graph knows no names.
    """

    def __init__(self, model: ResTModel) -> None:
        super().__init__()
        self.model, config = model, model.config
        known = model.seen_counts > 0
        self.classes = [name for name, kept in zip(config.seen_class_names, known.tolist(), strict=False) if kept]
        self.register_buffer("seen_text_embeds", model.seen_text_embeds[known])
        self.register_buffer("seen_prototypes", model.seen_prototypes[known])

    def forward(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        config, seen_index = self.model.config, tensors["seen_index"]
        text = {name: tensor for name, tensor in tensors.items() if name != "seen_index"}
        embeds, is_seen = self.model.embed_labels(**text), seen_index >= 0
        if not self.classes:
            return {"prototypes": embeds, "is_seen": is_seen, "text_embeds": embeds}
        weights = transfer_weights(
            embeds, self.seen_text_embeds, temperature=config.transfer_temperature, top_k=config.transfer_top_k
        )
        if config.exact_match_uses_seen_prototype:
            exact = seen_index[:, None] == torch.arange(len(self.classes))
            weights = torch.where(is_seen[:, None], exact.to(weights.dtype), weights)
        prototypes = compose_prototypes(weights, self.seen_prototypes)
        return {"prototypes": prototypes, "is_seen": is_seen, "text_embeds": embeds}
