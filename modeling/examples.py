"""What a few labeled videos say about a label set: a term that is added to a model's scores, without training.

The terms are functions of the pooled, L2-normalized `video_embeds` alone, so that they serve every model:

- `"ridge"`: kernel ridge regression with the text as prior (the idea is that of ReHARK, arXiv 2603.11542; the formulas
  are ours). What is learned is by how much the model's own probabilities of the examples are wrong.
- `"cache"`: Tip-Adapter (arXiv 2111.03930): each example votes for its label, the nearer the more.
- `"prototypes"`: cosine with the mean of a label's examples.
- `"linear"`: a linear head on the frozen features (scikit-learn).

Strength and sharpness are chosen on the examples alone: each is scored by all the others, and those of a label that
has no other example are left out. A term that is not surely better than none there (`SURE`) gets no strength. Where
more than half are left out, `FIXED` holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F


METHODS = ("ridge", "cache", "prototypes", "linear")
STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
SHARPNESSES = (1.0, 2.5, 5.5, 10.0, 20.0)
RIDGES = (0.01, 0.1, 1.0)
# Our choice where nothing can be chosen: of the order that Tip-Adapter is used with; ridge regression adds about 1 at
# most, so its strength is larger (`bench_examples`). Its kernel is sharp enough to tell neighbors of different labels
# apart: between half of the examples and their nearest one of another label it is at most exp(-APART).
FIXED = {"strength": 1.0, "sharpness": 5.5, "ridge": 0.1}
FIXED_RIDGE = {**FIXED, "strength": 4.0}
APART = 4.0
SHARPEST = 1000.0  # beyond, rounding errors of a cosine count
# Standard errors by which the mean loss with a term must be below the loss without it.
SURE = 2.0
# Strength and sharpness are chosen on no more, as that takes time with their third power.
CHOSEN_ON = 1000


@dataclass(frozen=True)
class Term:
    """How a term is computed.

    Args:
        strength: what it is multiplied with; 0 where the examples do not help.
        sharpness: of the kernel `exp(-sharpness * (1 - cosine))`.
        ridge: what is added to the diagonal of the kernel.
    """

    strength: float
    sharpness: float
    ridge: float


@dataclass(frozen=True, eq=False)
class Examples:
    """Labeled examples for the K labels of a bank. A value, never changed.

    Args:
        embeds: `[N, dim]`, float32, L2-normalized.
        targets: `[N]`, int64, positions of their labels.
        logits: `[N, K]`, float32, the model's own scores of them.
        named: `[K]`, bool; a label without a name is known by its examples alone.
        method: one of `METHODS`.
        asked: strength, sharpness and ridge as asked for; what is `None` is chosen.
        weights: `[N, K]` for the methods with a kernel, else `[dim, K]`; made of the others.
        chosen: the term that is added.
    """

    embeds: torch.Tensor
    targets: torch.Tensor
    logits: torch.Tensor
    named: torch.Tensor
    method: str = "ridge"
    asked: tuple[float | None, ...] = (None, None, None)  # strength, sharpness, ridge
    weights: torch.Tensor | None = None
    chosen: Term | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}.")
        rows, labels = self.logits.shape
        if (
            self.embeds.ndim != 2
            or len(self.embeds) != rows
            or self.targets.shape != (rows,)
            or self.named.shape != (labels,)
        ):
            raise ValueError("embeds [N, dim], targets [N], logits [N, K] and named [K] do not belong together.")

    # -- values ---------------------------------------------------------------------------------------

    def solved(self) -> Examples:
        """The same examples with term and weights, which are computed on the CPU."""
        here = self.to("cpu")
        chosen = here._choose()
        return replace(here, chosen=chosen, weights=here._weights(chosen).float().contiguous()).to(self.embeds.device)

    def select(self, index: torch.Tensor) -> Examples | None:
        """For the labels at some positions, in that order: the examples of the others are left out."""
        places = torch.full((len(self.named),), -1, dtype=torch.long)
        places[index.cpu()] = torch.arange(len(index))
        targets = places.to(self.targets.device)[self.targets]
        kept, index = targets >= 0, index.to(self.targets.device)
        if not kept.any():
            return None
        return replace(
            self,
            embeds=self.embeds[kept],
            targets=targets[kept],
            logits=self.logits[kept][:, index],
            named=self.named[index],
        ).solved()

    def to(self, device: torch.device | str) -> Examples:
        """On another device; always float32."""
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in self.tensors().items()}
        return replace(self, **moved)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a file keeps of them, besides `settings`."""
        names = ("embeds", "targets", "logits", "named", "weights")
        return {name: tensor for name in names if (tensor := getattr(self, name)) is not None}

    @property
    def settings(self) -> dict[str, Any]:
        """What a file keeps of them, besides `tensors`."""
        chosen = self.chosen and [self.chosen.strength, self.chosen.sharpness, self.chosen.ridge]
        return {"method": self.method, "asked": list(self.asked), "chosen": chosen}

    @classmethod
    def from_parts(cls, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> Examples:
        """What `tensors` and `settings` were taken from.

        Raises:
            ValueError: they are not parts of examples.
        """
        try:
            asked, chosen = asked_term(*settings["asked"]), Term(*asked_term(*settings["chosen"]))
            found = cls(**tensors, method=settings["method"], asked=asked, chosen=chosen)
            rows = len(found.embeds) if found._has_kernel else found.embeds.shape[1]
            fits = found.weights is not None and found.weights.shape == (rows, len(found.named))
            fits = fits and int(found.targets.min()) >= 0 and int(found.targets.max()) < len(found.named)
            fits = fits and {each.dtype for each in (found.embeds, found.logits, found.weights)} == {torch.float32}
            fits = fits and None not in settings["chosen"] and bool(found.named.any())
        except (LookupError, TypeError, RuntimeError, AttributeError) as error:
            raise ValueError(f"its examples are damaged ({type(error).__name__}: {error})") from error
        if not fits or found.targets.dtype != torch.int64 or found.named.dtype != torch.bool:
            raise ValueError("its examples are damaged (they do not belong together)")
        return found

    # -- scores ---------------------------------------------------------------------------------------

    def add_to(self, logits: torch.Tensor, embeds: torch.Tensor) -> torch.Tensor:
        """Scores `[B, labels with a name]` of videos with `embeds [B, dim]` -> `[B, K]`, float32."""
        if not self.named.all():
            logits = with_unnamed(logits, self.named)
        chosen = self.chosen
        if chosen is None or self.weights is None:
            raise ValueError("Examples are solved before they are added.")
        if not chosen.strength:
            return logits
        embeds = F.normalize(embeds.float(), dim=-1)
        inputs = kernel(embeds, self.embeds, chosen.sharpness) if self._has_kernel else embeds
        return logits + chosen.strength * inputs @ self.weights

    # -- solving --------------------------------------------------------------------------------------

    @property
    def _has_kernel(self) -> bool:
        return self.method in ("ridge", "cache")

    @property
    def _one_hot(self) -> torch.Tensor:
        return F.one_hot(self.targets, len(self.named)).double()

    @property
    def _wrong_by(self) -> torch.Tensor:
        return self._one_hot - self.logits.double().softmax(dim=-1)

    def _weights(self, term: Term) -> torch.Tensor:
        if self.method == "cache":
            return self._one_hot
        if self.method == "ridge":
            gram = kernel(self.embeds.double(), self.embeds.double(), term.sharpness)
            gram.diagonal().add_(term.ridge)
            return torch.cholesky_solve(self._wrong_by, torch.linalg.cholesky(gram))
        if self.method == "prototypes":
            return _centered(F.normalize(self._one_hot.T @ self.embeds.double(), dim=-1), self.targets).T
        return _centered(_linear_head(self.embeds, self.targets, len(self.named)), self.targets).T

    def _choose(self) -> Term:
        """The term with the least cross-entropy of the examples, each scored by all the others."""
        strength, sharpness, ridge = self.asked
        asked = {name: value for name, value in zip(FIXED, self.asked, strict=True) if value is not None}
        some = self._few()
        fixed = {**FIXED_RIDGE, "sharpness": some._fixed_sharpness} if self.method == "ridge" else FIXED
        repeated = torch.bincount(some.targets, minlength=len(self.named))[some.targets] > 1
        if 2 * repeated.sum() < len(repeated) or self.method == "linear":
            return Term(**{**fixed, **asked})
        targets, logits = some.targets[repeated], some.logits[repeated].double()
        without = F.cross_entropy(logits, targets, reduction="none")
        best = (float("inf"), Term(**{**fixed, "strength": 0.0, **asked}))
        for sharp, rest, left_out in some._left_one_out(sharpness, ridge):
            for strong in STRENGTHS if strength is None else (strength,):
                losses = F.cross_entropy(logits + strong * left_out[repeated], targets, reduction="none")
                gain, loss = without - losses, losses.mean().item()
                sure = strength is not None or gain.mean() > SURE * gain.std() / len(gain) ** 0.5
                if sure and loss < best[0] - 1e-9:
                    best = (loss, Term(strong, sharp, rest))
        return best[1]

    @property
    def _fixed_sharpness(self) -> float:
        cosines = self.embeds @ self.embeds.T
        cosines[self.targets[:, None] == self.targets[None]] = -1
        distance = 1 - cosines.amax(dim=1).median().item()
        return min(max(FIXED["sharpness"], APART / max(distance, 1e-6)), SHARPEST)

    def _few(self) -> Examples:
        """At most `CHOSEN_ON`: of every label the first, then of every label the second, ..."""
        if len(self.targets) <= CHOSEN_ON:
            return self
        rank = torch.tril(self.targets[:, None] == self.targets[None], -1).sum(dim=1)
        kept = torch.argsort(rank, stable=True)[:CHOSEN_ON]
        return replace(self, embeds=self.embeds[kept], targets=self.targets[kept], logits=self.logits[kept])

    def _left_one_out(
        self, sharpness: float | None, ridge: float | None
    ) -> Iterator[tuple[float, float, torch.Tensor]]:
        """(sharpness, ridge, the term `[N, K]` that the other examples give each), for every pair to choose among."""
        embeds, one_hot = self.embeds.double(), self._one_hot
        sharpnesses = SHARPNESSES if sharpness is None else (sharpness,)
        ridges = RIDGES if ridge is None else (ridge,)
        if self.method == "prototypes":
            yield FIXED["sharpness"], FIXED["ridge"], self._prototypes_left_one_out()
            return
        for sharp in sharpnesses:
            gram = kernel(embeds, embeds, sharp)
            if self.method == "cache":
                yield sharp, FIXED["ridge"], (gram - torch.diag(gram.diagonal())) @ one_hot
                continue
            for rest in ridges:
                inverse = torch.linalg.inv(gram + rest * torch.eye(len(gram), dtype=gram.dtype, device=gram.device))
                # The closed form of ridge regression without one row: its residual over that row's own entry.
                yield sharp, rest, self._wrong_by - inverse @ self._wrong_by / inverse.diagonal()[:, None]

    def _prototypes_left_one_out(self) -> torch.Tensor:
        embeds, one_hot = self.embeds.double(), self._one_hot
        sums = one_hot.T @ embeds
        cosines = embeds @ F.normalize(sums, dim=-1).T
        own = F.normalize(sums[self.targets] - embeds, dim=-1)
        cosines[torch.arange(len(embeds)), self.targets] = (embeds * own).sum(dim=-1)
        known = one_hot.sum(dim=0) > 0
        return (cosines - cosines[:, known].mean(dim=1, keepdim=True)) * known


def kernel(left: torch.Tensor, right: torch.Tensor, sharpness: float) -> torch.Tensor:
    """`exp(-sharpness * (1 - cosine))` of L2-normalized rows: `[B, dim]`, `[N, dim]` -> `[B, N]`."""
    return torch.exp(sharpness * (left @ right.T - 1))


def with_unnamed(logits: torch.Tensor, named: torch.Tensor) -> torch.Tensor:
    """Scores of the labels with a name -> of all K. The text says nothing of the others: each counts as the named
    ones do on average, which is the logarithm of their mean."""
    full = logits.new_empty(len(logits), len(named))
    full[:, named] = logits
    full[:, ~named] = (logits.logsumexp(dim=-1) - torch.tensor(float(logits.shape[1])).log())[:, None]
    return full


def _centered(rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Rows `[K, dim]` less the mean of those of labels with examples; zero for the other labels."""
    known = torch.zeros(len(rows), 1, dtype=rows.dtype, device=rows.device)
    known[targets.unique()] = 1
    return (rows - (rows * known).sum(dim=0) / known.sum()) * known


def _linear_head(embeds: torch.Tensor, targets: torch.Tensor, num_labels: int) -> torch.Tensor:
    """Rows `[K, dim]` of a logistic regression; zero for labels without examples."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise ImportError("A linear head needs scikit-learn: pip install scikit-learn.") from None
    rows = torch.zeros(num_labels, embeds.shape[1], dtype=torch.double)
    known = targets.unique().cpu()
    if len(known) > 1:
        head = LogisticRegression(C=10.0, max_iter=1000, fit_intercept=False)
        head.fit(embeds.double().cpu().numpy(), targets.cpu().numpy())
        found = torch.from_numpy(head.coef_)
        rows[known] = found if len(found) == len(known) else torch.cat([-found, found]) / 2
    return rows.to(embeds.device)


def as_embeds(features: Any) -> torch.Tensor:
    """`video_embeds [N, dim]` of features, or such a tensor, as float32 and L2-normalized.

    Raises:
        ValueError: another shape, or numbers that are not finite.
    """
    embeds = features if isinstance(features, torch.Tensor) else features.video_embeds
    if not isinstance(embeds, torch.Tensor) or embeds.ndim != 2 or not len(embeds):
        raise ValueError("features of examples must hold video_embeds [N, dim], one row for each example.")
    if not embeds.isfinite().all():
        raise ValueError("features of examples hold values that are not finite numbers.")
    return F.normalize(embeds.detach().float(), dim=-1)


def asked_term(strength: float | None, sharpness: float | None, ridge: float | None) -> tuple[float | None, ...]:
    """
    Raises:
        ValueError: a number that is negative, or a kernel that is none.
    """
    for name, value, least in (("strength", strength, 0.0), ("sharpness", sharpness, 1e-6), ("ridge", ridge, 1e-9)):
        if value is not None and not (isinstance(value, (int, float)) and least <= value < 1e9):
            raise ValueError(f"{name} must be a number from {least:g} to 1e9, got {value!r:.80}.")
    return strength, sharpness, ridge
