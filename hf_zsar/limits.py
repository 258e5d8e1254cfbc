"""All limits of this process, on what files, videos and arguments ask for and on the sizes of configurations.

They lie in two modules (`hf_zsar.processing.limits`, `hf_zsar.modeling.size_limits`, with a reason for each), because
the code of a model travels without this package and its two folders cannot import each other. No name is in both.
"""

from __future__ import annotations

from dataclasses import asdict

from hf_zsar.modeling.size_limits import set_size_limits, size_limits
from hf_zsar.processing import limits as of_files


def limits() -> dict[str, float]:
    """The limits in force, by name."""
    return {**asdict(of_files.limits()), **asdict(size_limits())}


def set_limits(**changes: float) -> dict[str, float]:
    """Change limits; gives those before, so that `set_limits(**before)` undoes it.

    ```python
    >>> set_limits(clip_pixels=2**31, layers=1000)
    ```

    Raises:
        ValueError: no such limit, or a value that is not a positive number. Nothing is changed then.
    """
    before, sizes = limits(), asdict(size_limits())
    of_sizes = {name: value for name, value in changes.items() if name in sizes}
    set_size_limits(**of_sizes)
    try:
        of_files.set_limits(**{name: value for name, value in changes.items() if name not in sizes})
    except ValueError:
        set_size_limits(**sizes)
        raise
    return before
