"""How much a file, a configuration or an argument may make this process do: every such limit, with its reason.

Files and configurations come from strangers, and a few bytes can ask for any amount of memory or time. What they ask
for is held against these limits before it is allocated or begun. They hold for the whole process; [`set_limits`]
raises or lowers them (child processes that do not fork start with the defaults again).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from difflib import get_close_matches


@dataclass(frozen=True)
class Limits:
    """The limits, largest allowed values.

    Attributes:
        picture_pixels: of one picture. The largest that cameras record is 8K for cinemas, 8192 x 4320.
        picture_ratio: long side over short side. Resizing to a short side multiplies the long one by as much; the
            widest panoramas and LED walls stay below 50.
        clip_pixels: of all frames held at once as they were decoded, 3 bytes each: 1.6 GB, 64 frames of 4K.
        value_pixels: of all resized frames and pixel values of a clip, up to 12 bytes each: 1.6 GB, 2600 frames of
            224 x 224.
        clip_frames: frames sampled for one clip, whatever their size. An official protocol takes 32 frames x 10 views.
        windows: stretches of one file in a timeline, each with its scores: a day in steps of a second are 86,400.
        clock_gap: seconds between two frames in a row; more is an error of the clock, which is closed up. A time
            lapse, a screen recording or a slide show may stand still for hours, over night.
        labels: of one choice or file. ImageNet-21k, the largest published list of classes, has 21,841.
        text_characters: of one label, template, attribute or clause. Text towers read 77 to 512 tokens, a third of it.
        descriptions: attributes, or clauses of one kind, of one label. Published files have up to 100.
        prompts: of a label set: labels x prompts of the longest. 400 labels x 16 templates are 6400; they take minutes
            on a CPU from a hundred thousand.
        decoded_pixels: of all frames that reading one file decodes: a day of 1920 x 1080 at 30 a second is half of it.
        download_bytes: of a video from a URL. An hour of 1080p at 5 Mbit a second has 2.2 GB; a URL of a stranger may
            never end.
        download_seconds: from the first look-up to the last byte.
        text_bytes: of a text, JSON or CSV file. The largest list of the field (Kinetics-700's annotations) has 110 MB.
        xml_bytes: of an XML file. Ten thousand annotations have 3 MB, and ten times as much as objects.
        json_depth: lists and objects within each other. No format of the field has more than 7, and what walks over a
            value may need several calls for each.
        yaml_bytes: the largest file of the field (action graphs of 600 classes) has 0.5 MB; a megabyte takes seconds.
        yaml_values: each alias counted as what it stands for; without that, ten lines can stand for gigabytes.
        yaml_depth: as `json_depth`.
    """

    picture_pixels: int = 36_000_000
    picture_ratio: float = 100
    clip_pixels: int = 2**29
    value_pixels: int = 2**27
    clip_frames: int = 2**14
    windows: int = 100_000
    clock_gap: float = 12 * 3600
    labels: int = 100_000
    text_characters: int = 10_000
    descriptions: int = 1000
    prompts: int = 2**20
    decoded_pixels: int = 10**13
    download_bytes: int = 2**32
    download_seconds: float = 3600
    text_bytes: int = 2**28
    xml_bytes: int = 2**25
    json_depth: int = 64
    yaml_bytes: int = 2**22
    yaml_values: int = 200_000
    yaml_depth: int = 32


_limits = Limits()


def limits() -> Limits:
    """The limits in force."""
    return _limits


def set_limits(**changes: float) -> Limits:
    """Change limits of this process, by name; gives those before, so that `set_limits(**asdict(before))` undoes it.

    ```python
    >>> set_limits(clip_pixels=2**31, windows=10**6)
    ```

    Raises:
        ValueError: no such limit, or a value that is not a positive number.
    """
    global _limits
    known = [field.name for field in fields(Limits)]
    for name, value in changes.items():
        if name not in known:
            near = get_close_matches(name, known, 1) or known
            raise ValueError(f"There is no limit {name!r}; did you mean {' or '.join(near)}?")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise ValueError(f"The limit {name} must be a positive number, got {value!r}.")
    before, _limits = _limits, replace(_limits, **changes)  # type: ignore[arg-type]
    return before


def hold_to(name: str, value: float, what: str, error: type[ValueError] = ValueError) -> None:
    """Refuse a `value` beyond the limit `name`.

    Args:
        what: the sentence that the message begins with, such as `"a.gif: a picture of 65535x1 pixels"`.

    Raises:
        error: naming the limit and the call that raises it.
    """
    most = getattr(_limits, name)
    # Written so that NaN is refused.
    if not value <= most:
        raise error(f"{what}: {value:,.15g}, more than {name} allows ({most:,}); {__name__}.set_limits raises it.")
