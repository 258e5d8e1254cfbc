"""How many updates a recipe makes."""

from __future__ import annotations

from dataclasses import dataclass

from .recipe import Recipe, RecipeError
from .sampler import SeededShuffle


@dataclass(frozen=True)
class Steps:
    """The steps of a run.

    Args:
        videos: in the training set.
        updates: of an epoch.
        total: updates of the run.
        warmup: updates until the learning rate is reached.
        rank, world: this process, and how many there are.
    """

    videos: int
    updates: int
    total: int
    warmup: int
    rank: int = 0
    world: int = 1

    @classmethod
    def of(cls, recipe: Recipe, videos: int, rank: int = 0, world: int = 1) -> Steps:
        """Those of a recipe over so many videos.

        Raises:
            RecipeError: fewer videos than an update needs.
        """
        options = recipe.optimization
        updates = videos // (options.batch_size * world) // options.accumulation
        if not updates:
            needed = options.batch_size * world * options.accumulation
            raise RecipeError(
                f"{videos} videos do not fill one update of {needed}: make optimization.batch_size or accumulation "
                "smaller."
            )
        return cls(videos, updates, options.epochs * updates, round(options.warmup_epochs * updates), rank, world)

    def sampler(self, recipe: Recipe) -> SeededShuffle:
        """The order of this process's videos."""
        return SeededShuffle(self.videos, recipe.optimization.batch_size, recipe.seed, self.rank, self.world)


__all__ = ["Steps"]
