"""Finding clips in the official layouts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hf_zsar.clips.layouts import DATASETS, dataset_info, find_clips


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video")


def test_ucf101_layout(tmp_path):
    put(tmp_path, "UCF-101/Archery/v_Archery_g01_c01.avi", "UCF-101/HandstandPushups/v_HandstandPushups_g01_c01.avi")
    labels = {
        "v_Archery_g01_c01": "Archery",
        # The official lists and the official archive spell this one differently.
        "v_HandStandPushups_g01_c01": "HandstandPushups",
        "v_Archery_g01_c02": "Archery",
    }
    found = find_clips(tmp_path, dataset_info("ucf101"), labels)
    assert {clip: path.name for clip, path in found.paths.items()} == {
        "v_Archery_g01_c01": "v_Archery_g01_c01.avi",
        "v_HandStandPushups_g01_c01": "v_HandstandPushups_g01_c01.avi",
    }
    assert found.missing == {"v_Archery_g01_c02": "not found"}


def test_hmdb51_file_in_the_folder_of_another_class_is_reported(tmp_path):
    put(tmp_path, "kick/a_kick_f_cm_np1_ba_med_0.avi", "kick/b_kick_ball_f_cm_np1_ba_med_0.avi", "videos/c_kick.avi")
    labels = {"a_kick_f_cm_np1_ba_med_0": "kick", "b_kick_ball_f_cm_np1_ba_med_0": "kick ball", "c_kick": "kick"}
    found = find_clips(tmp_path, dataset_info("hmdb51"), labels)
    assert set(found.paths) == {"a_kick_f_cm_np1_ba_med_0", "c_kick"}
    assert "folder 'kick'" in found.missing["b_kick_ball_f_cm_np1_ba_med_0"]


def test_hmdb51_underscores_and_odd_names(tmp_path):
    clip = "Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!_brush_hair_h_cm_np1_fr_goo_0"
    put(tmp_path, f"brush_hair/{clip}.avi")
    assert find_clips(tmp_path, dataset_info("hmdb51"), {clip: "brush hair"}).paths[clip].is_file()


def test_a_copy_in_the_right_folder_wins_and_copies_are_counted(tmp_path):
    put(tmp_path, "a/v_Archery_g01_c01.avi", "z/Archery/v_Archery_g01_c01.mp4")
    found = find_clips(tmp_path, dataset_info("ucf101"), {"v_Archery_g01_c01": "Archery"})
    assert found.paths["v_Archery_g01_c01"].parent.name == "Archery"
    assert found.duplicates == 1


def test_youtube_ids_are_case_sensitive_and_any_folder_will_do(tmp_path):
    put(tmp_path, "val/x y/AbCdEfGhIjK_000001_000011.mp4", "AbCdEfGhIjk_000001_000011.webm")
    labels = {"AbCdEfGhIjK_000001_000011": "yoga", "ABCDEFGHIJK_000001_000011": "yoga"}
    found = find_clips(tmp_path, dataset_info("kinetics600"), labels)
    assert list(found.paths) == ["AbCdEfGhIjK_000001_000011"]
    assert list(found.missing) == ["ABCDEFGHIJK_000001_000011"]


@pytest.mark.parametrize("name", ["v_QOlSCBRmfWY.mp4", "QOlSCBRmfWY.mkv"])
def test_activitynet_with_and_without_prefix(tmp_path, name):
    put(tmp_path, name)
    assert find_clips(tmp_path, dataset_info("activitynet200"), {"QOlSCBRmfWY": "Ballet"}).paths


def test_an_activitynet_id_may_begin_like_the_prefix(tmp_path):
    put(tmp_path, "v_abcdefghi.mp4")  # 11 characters: the id itself
    assert find_clips(tmp_path, dataset_info("activitynet200"), {"v_abcdefghi": "Ballet"}).paths


def test_files_that_are_no_videos_do_not_count(tmp_path):
    put(tmp_path, "Archery/v_Archery_g01_c01.txt", "Archery/v_Archery_g01_c01.jpg")
    with pytest.raises(FileNotFoundError, match=r"None of the 1 clips of UCF101 .* Expected: <Class>/v_<Class>"):
        find_clips(tmp_path, dataset_info("ucf101"), {"v_Archery_g01_c01": "Archery"})


def test_linked_folders_are_followed_and_circles_end(tmp_path):
    put(tmp_path, "disk/Archery/v_Archery_g01_c01.avi")
    (tmp_path / "root").mkdir()
    os.symlink(tmp_path / "disk", tmp_path / "root" / "UCF-101")
    os.symlink(tmp_path / "root", tmp_path / "root" / "again")
    found = find_clips(tmp_path / "root", dataset_info("ucf101"), {"v_Archery_g01_c01": "Archery"})
    assert len(found.paths) == 1
    assert found.duplicates == 0


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        find_clips(tmp_path / "none", dataset_info("ucf101"), {"v": "Archery"})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("UCF-101", "ucf101"),
        ("k600", "kinetics600"),
        ("ActivityNet", "activitynet200"),
        ("kinetics_400", "kinetics400"),
    ],
)
def test_data_set_names(name, expected):
    assert dataset_info(name).name == expected


def test_unknown_data_set_names_the_known():
    with pytest.raises(ValueError, match=", ".join(DATASETS)):
        dataset_info("imagenet")
