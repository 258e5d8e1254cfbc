"""What all pictures share."""

from __future__ import annotations

import re
import sys

import pytest


pytest.importorskip("matplotlib")

from hf_zsar.plots import style


def drawing_files(repo_root, pattern):
    paths = [path for path in (repo_root / "hf_zsar").rglob("*.py") if "demo" not in path.parts]
    return {path.name for path in paths if re.search(pattern, path.read_text(encoding="utf-8"))}


def test_colors_have_one_home(repo_root):
    """The demo is copied to a Space without the package, so its charts have colors of their own."""
    assert drawing_files(repo_root, r"[\"']#[0-9a-fA-F]{3,8}[\"']|tab:") == {"style.py"}


def test_figures_are_made_and_written_in_one_place(repo_root):
    """The pages of an animation go to memory."""
    assert drawing_files(repo_root, r"pyplot\b.*import|Figure\(|\.savefig\(") == {"style.py", "explanation.py"}


def test_bars_stand_in_order_with_their_values_and_the_first_is_strong():
    figure = style.new_figure(4, 2)
    axes = figure.subplots()
    style.draw_bars(axes, ["a" * 60, "b", "c"], [0.5, 0.25, -0.125], title="shares")
    figure.draw_without_rendering()
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.25, -0.125]
    assert [each.get_text() for each in axes.texts] == ["0.500", "0.250", "-0.125"]
    names = [each.get_text() for each in axes.get_yticklabels()]
    assert names[0] == "a" * 39 + "…" and names[1:] == ["b", "c"]
    low, high = axes.get_xlim()
    assert low < -0.125 and high > 0.5
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first on top
    colors = [bar.get_facecolor() for bar in axes.patches]
    assert colors[0] != colors[1] == colors[2]


@pytest.mark.parametrize("values", [[], [0.0], [-0.5, -0.25]])
def test_bars_without_any_above_zero(values):
    axes = style.new_figure(4, 2).subplots()
    style.draw_bars(axes, ["name"] * len(values), values)
    assert len(axes.patches) == len(values)


def test_frames_are_picked_evenly_with_first_and_last():
    assert style.pick_evenly(3, 8) == [0, 1, 2]
    assert style.pick_evenly(17, 5) == [0, 4, 8, 12, 16]


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"hf-zsar\[plot\]"):
        style.new_figure(1, 1)


def test_a_picture_is_whole_or_not_there(tmp_path):
    figure = style.new_figure(2, 2)
    with pytest.raises(ValueError, match="xyz"):
        style.save(figure, tmp_path / "a.xyz")
    assert list(tmp_path.iterdir()) == []
    style.save(figure, tmp_path / "a.svg")
    assert "<svg" in (tmp_path / "a.svg").read_text(encoding="utf-8")
