"""Space-time cross attention of STDD: window masks, channel mixing and the block, as pure functions.

Source: arXiv 2412.09895 and its code (card of STDD, S3 to S5). A second pass of a block's *own* attention runs over
some of the patches, after channels have been exchanged with neighboring frames; its outputs replace those patches in
the shortcut. Nothing is learned here. All mixing happens outside the attention itself, so every implementation of it
serves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch


Grid = tuple[int, int]
Branch = Callable[[torch.Tensor], torch.Tensor]


def check_grid(grid: Grid, window: int) -> Grid:
    """The patch grid (rows, columns), if windows of `window` x `window` patches tile it.

    Raises:
        ValueError: they do not.
    """
    if grid[0] % window or grid[1] % window or min(grid) < 1:
        raise ValueError(
            f"Space-time attention needs a patch grid that {window}x{window} windows tile, but these frames have "
            f"{grid[0]}x{grid[1]} patches (CLIP ViT-B/32 has 7x7). Use a backbone whose grid fits (ViT-B/16 has "
            "14x14, ViT-L/14 16x16), another image size or window_size, or use_stca=False."
        )
    return grid


def masked_slots(window: int, rate: float) -> int:
    """How many of the `window ** 2` slots of every window stay out of the temporal pass."""
    # The official floor(floor(rate * T * N) / (T * windows)) with N = windows * window ** 2.
    return int(rate * window**2)


def kept_count(grid: Grid, window: int, rate: float) -> int:
    """How many patches of every frame take part in the temporal pass."""
    slots = window**2
    return grid[0] * grid[1] // slots * (slots - masked_slots(window, rate))


def window_order(grid: Grid, window: int, device: torch.device | str | None = None) -> torch.Tensor:
    """Raster positions `[N]` of the patches in window-major order: windows row by row, and so the slots inside."""
    rows, columns = grid
    raster = torch.arange(rows * columns, device=device)
    return raster.view(rows // window, window, columns // window, window).transpose(1, 2).reshape(-1)


def window_mask(
    num_frames: int,
    grid: Grid,
    window: int,
    rate: float,
    offset: torch.Tensor | None = None,
    frame_permutation: torch.Tensor | None = None,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """The shifting window mask: in frame t the masked slots of every window are rotated by t + offset.

    Args:
        offset: long `[..., 1]` (shared by all windows) or `[..., windows]`; none means 0.
        frame_permutation: long `[..., T]`; row t of the result is row `frame_permutation[t]` of the plain mask.

    Returns:
        Boolean `[..., T, N]` in raster order; true = the patch is left out of the temporal pass.
    """
    slots, windows = window**2, grid[0] * grid[1] // window**2
    if offset is None:
        offset = torch.zeros(1, dtype=torch.long, device=device)
    rotation = torch.arange(num_frames, device=offset.device)[:, None] + offset[..., None, :]
    slot = torch.arange(slots, device=offset.device)
    mask = (slot - rotation[..., None]) % slots < masked_slots(window, rate)
    mask = mask.expand(*mask.shape[:-2], windows, slots).flatten(-2)
    if frame_permutation is not None:
        mask = mask.expand(*frame_permutation.shape, mask.shape[-1])
        mask = mask.gather(-2, frame_permutation[..., None].expand_as(mask))
    return mask[..., window_order(grid, window, mask.device).argsort()]


def random_window_mask(
    shape: Sequence[int],
    num_frames: int,
    grid: Grid,
    window: int,
    rate: float,
    rotate: bool = True,
    spatial_repeat: bool = True,
    shuffle: bool = True,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Independent masks of the official code, for any leading `shape` (blocks, videos).

    Args:
        rotate: draw an offset; shared by the windows of a frame if `spatial_repeat`, else one per window.
        shuffle: permute the frames' rows.
        generator: source of the draws, on any device; without it the global CPU generator.

    Returns:
        Boolean `[*shape, T, N]` in raster order, on the generator's device.
    """
    device = generator.device if generator is not None else torch.device("cpu")
    slots, windows = window**2, grid[0] * grid[1] // window**2
    offset = torch.zeros((*shape, 1), dtype=torch.long, device=device)
    if rotate:
        count = 1 if spatial_repeat else windows
        offset = torch.randint(slots, (*shape, count), generator=generator, device=device)
    permutation = None
    if shuffle:
        permutation = torch.rand((*shape, num_frames), generator=generator, device=device).argsort(dim=-1)
    return window_mask(num_frames, grid, window, rate, offset, permutation)


def kept_patches(mask: torch.Tensor, grid: Grid, window: int, count: int) -> torch.Tensor:
    """Raster positions `[..., T, count]` of the patches that a mask `[..., T, N]` keeps, in window-major order.

    The order matters: channels are exchanged between the same places of two frames' lists. `count` is how many every
    frame keeps (known beforehand, so that shapes never depend on data).
    """
    order = window_order(grid, window, mask.device)
    position = torch.arange(order.shape[0], device=mask.device)
    # Masked ones last; the smallest `count` keys are the kept positions in ascending order.
    key = position + mask[..., order].to(position.dtype) * order.shape[0]
    return order[key.topk(count, dim=-1, largest=False, sorted=True).values]


def mix_channels(tokens: torch.Tensor, channel_fold: int, scale: int) -> torch.Tensor:
    """Exchange channels between frames up to `scale` apart ("continual mixing").

    With `f = W // channel_fold`, the first f channels come from earlier and the next f from later frames: all f from
    the direct neighbor, then half as many from two frames away (overwriting), and so on. Frames outside give zeros;
    the other channels stay.

    Args:
        tokens: `[B, T, M, W]`.
    """
    num_frames, fold = tokens.shape[1], tokens.shape[-1] // channel_fold
    mixed = torch.zeros_like(tokens[..., : 2 * fold])
    share = fold
    for step in range(1, min(scale, num_frames - 1) + 1):
        mixed[:, step:, :, :share] = tokens[:, : num_frames - step, :, :share]
        later = slice(2 * fold - share, 2 * fold)
        mixed[:, : num_frames - step, :, later] = tokens[:, step:, :, later]
        share //= 2
    return torch.cat([mixed, tokens[..., 2 * fold :]], dim=-1)


def space_time_block(
    branches: tuple[Branch, Branch],
    hidden: torch.Tensor,
    kept: torch.Tensor,
    channel_fold: int,
    temporal_scales: Sequence[int],
    prefix: int = 1,
) -> torch.Tensor:
    """One transformer block with space-time cross attention, on the block's own weights.

    Args:
        branches: what the block adds to its tokens: attention, then feed-forward, each with its norm.
        hidden: `[B * T, prefix + N, W]`, frames of a video next to each other.
        kept: long `[T, M]` or `[B, T, M]`, patches of the temporal pass (see `kept_patches`).
        temporal_scales: reach of each temporal pass, in frames; the passes are averaged.
        prefix: tokens before the patches, such as the class token; they take part in every pass.

    Returns:
        `[B * T, prefix + N, W]`.
    """
    attend, transform = branches
    num_frames, count = kept.shape[-2:]
    frames, _, width = hidden.shape
    index = kept.expand(frames // num_frames, num_frames, count).reshape(frames, count, 1) + prefix
    index = index.expand(frames, count, width)
    tokens = hidden.gather(1, index).view(-1, num_frames, count, width)
    passes = [
        torch.cat([hidden[:, :prefix], mix_channels(tokens, channel_fold, scale).flatten(0, 1)], dim=1)
        for scale in temporal_scales
    ]
    temporal = torch.cat(passes)  # scales side by side: one call of the attention for all
    temporal = temporal + attend(temporal)
    temporal = temporal.view(len(passes), frames, prefix + count, width).mean(dim=0)
    spatial = hidden + attend(hidden)
    first = torch.arange(prefix, device=index.device)[:, None].expand(frames, prefix, width)
    padded = spatial.scatter(1, torch.cat([first, index], dim=1), temporal)
    return padded + transform(spatial)
