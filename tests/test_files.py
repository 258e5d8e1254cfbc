"""Every file and folder of the package is whole or not there: full disks, forbidden folders, killed processes."""

from __future__ import annotations

import ast
import errno
import os
import resource
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from hf_zsar.clips.frame_cache import _write
from hf_zsar.clips.overlap import Overlap
from hf_zsar.embedded import cache_folder
from hf_zsar.evaluation.records import save_record
from hf_zsar.explanation import ExplainedVideo
from hf_zsar.features.shards import Row, write_shard
from hf_zsar.files import (
    TEMPORARY,
    check_file,
    check_folder,
    filling_folder,
    put_folder,
    remove_folder,
    replacing,
    replacing_folder,
    scratch_folder,
    workplace,
    write_json,
)
from hf_zsar.hub.cards import write_card
from hf_zsar.hub.exporting import export
from hf_zsar.hub.facts import CardFacts
from hf_zsar.modeling.modeling_zsar import LabelBank, VideoFeatures
from hf_zsar.plots.explanation import draw_explanation
from hf_zsar.processing.action_graph import ActionGraph
from hf_zsar.processing.descriptions import Descriptions
from hf_zsar.retrieval import VideoIndex
from hf_zsar.training.history import write_history
from hf_zsar.training.prototypes import _save_state
from tests.tiny_models import tiny_model, tiny_processor


LONG = "x" * 20_000


def embeds() -> torch.Tensor:
    return torch.randn(1, 9000, generator=torch.Generator().manual_seed(0))


def save_rows(path: Path) -> None:
    from datasets import ClassLabel

    _write([{"frames": [os.urandom(20_000)], "label": 0, "index": 0}], ClassLabel(names=["a"]), path)


def draw_result(path: Path) -> None:
    from hf_zsar.plots.training import draw_history

    draw_history([{"epoch": i, "loss": 1.0, "top1": 0.5} for i in range(3)], path)


def draw_parts(path: Path) -> None:
    from hf_zsar.plots.scores import draw_transfer

    draw_transfer({name: [{"seen_class": "b", "weight": 0.5}] for name in "abcdef"}, path)


def draw_a_graph(path: Path) -> None:
    from hf_zsar.plots.graph import draw_graph

    draw_graph(ActionGraph("eating", objects=("apple",), sub_actions=("bite", "chew")), path)


def draw_a_score(path: Path) -> None:
    from hf_zsar.plots.scores import draw_scores

    frames = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    draw_scores(path, {"video": "a.mp4", "scores": [{"label": "a", "score": 1.0}]}, frames, [0.0, 1.0])


def draw_why(path: Path) -> None:
    frames = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    draw_explanation(ExplainedVideo("a", 1.0, frames, [0.0, 1.0], torch.ones(2) / 2, None, [("a", 0.5)]), path)


def save_card(path: Path) -> None:
    assert write_card(path.parent, CardFacts(method="rest", description=LONG)) == path


# Every writer of a file, called on its path (a suffix where the format needs one): a new one joins this list.
FILE_WRITERS: dict[str, Callable[[Path], None]] = {
    "replacing": lambda path: write_json(path, LONG),
    "LabelBank.save": lambda path: LabelBank(("a",), {"text_embeds": torch.zeros(1, 9000)}).save(path),
    "Descriptions.save": lambda path: Descriptions.from_dict({f"label {i}": [f"word {i}"] for i in range(999)}).save(
        path
    ),
    "feature shard": lambda path: write_shard(path, [Row("a", "a")], VideoFeatures(video_embeds=embeds()), {}),
    "save_record": lambda path: save_record({"a": LONG}, path),
    "Overlap.save": lambda path: Overlap((LONG,), {}, "none").save(path),
    "prototypes' state": lambda path: _save_state(path, "key", torch.zeros(9000), torch.zeros(1), 1),
    "frame cache": save_rows,
    "README.md": save_card,
    "history.json": lambda path: write_history([{"epoch": 1, "pad": LONG}], path.parent),
    "why.png": draw_why,
    "why.gif": draw_why,
    "curve.png": draw_result,
    "transfer.png": draw_parts,
    "graph.png": draw_a_graph,
    "scores.png": draw_a_score,
}


# Those that choose the name themselves, or draw what the suffix says.
FIXED_NAMES = {
    "README.md": "README.md",
    "history.json": "history.json",
    "why.gif": "file.gif",
}


def name_of(writer: str) -> str:
    return FIXED_NAMES.get(writer, "file.png")


def save_export(path: Path) -> None:
    export(tiny_model("actionclip"), tiny_processor("actionclip"), path, verify=False)


def save_converted(path: Path) -> None:
    from hf_zsar.conversion.checkpoint_files import write_folder

    write_folder(path, lambda folder: tiny_model("rest").save_pretrained(folder))


def save_filling(path: Path) -> None:
    with filling_folder(path, last="config.json") as folder:
        tiny_model("rest").save_pretrained(folder)


FOLDER_WRITERS: dict[str, Callable[[Path], None]] = {
    "VideoIndex.save": lambda path: VideoIndex(("a",), VideoFeatures(video_embeds=embeds()), "f").save(path),
    "export": save_export,
    "convert": save_converted,
    "final model": save_filling,
}


@contextmanager
def small_disk(size: int = 4096) -> Iterator[None]:
    """No file may grow beyond `size` bytes: what libraries see is what they see of a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@contextmanager
def full_at_fsync() -> Iterator[None]:
    """A disk that notices at the very end that it is full, as network file systems do."""
    with pytest.MonkeyPatch.context() as patch:

        def fsync(handle: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(os, "fsync", fsync)
        yield


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, whom no mode keeps out."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter (pytest's own are private)."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.parametrize("fault", [small_disk, full_at_fsync])
@pytest.mark.parametrize("name", FILE_WRITERS)
def test_a_full_disk_leaves_the_old_file(name, fault, tmp_path):
    path = tmp_path / name_of(name)
    path.write_text("old")
    with fault(), pytest.raises(OSError, match=path.name) as caught:
        FILE_WRITERS[name](path)
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
    assert TEMPORARY not in str(caught.value)  # the person knows the file, not the temporary name
    assert (os.listdir(tmp_path), path.read_text()) == ([path.name], "old")


def test_what_fails_again_when_a_file_is_closed_is_named_too(tmp_path):
    with small_disk(10), pytest.raises(OSError, match="short.json"):
        Descriptions.from_dict({"label": ["word"]}).save(tmp_path / "short.json")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", FILE_WRITERS)
def test_a_folder_or_device_of_that_name_is_left(name, tmp_path):
    path = tmp_path / "1" / name_of(name)
    path.mkdir(parents=True)
    (path / "mine").write_text("mine")
    with pytest.raises(OSError, match=path.name):
        FILE_WRITERS[name](path)
    assert (os.listdir(path.parent), os.listdir(path)) == ([path.name], ["mine"])
    pipe = tmp_path / "2" / name_of(name)
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    with pytest.raises(OSError, match=f"not a regular file.*{pipe.name}"):
        FILE_WRITERS[name](pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("name", FILE_WRITERS)
def test_a_link_is_followed_and_a_mode_kept(name, tmp_path):
    link, new = tmp_path / "1" / name_of(name), tmp_path / "2" / name_of(name)
    for folder in ("real", "1", "2"):
        (tmp_path / folder).mkdir()
    old = tmp_path / "real" / "old.png"
    old.write_text("old")
    old.chmod(0o640)
    link.symlink_to(old)
    FILE_WRITERS[name](link)
    assert link.is_symlink() and old.stat().st_size > 100
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    FILE_WRITERS[name](new)
    (tmp_path / "plain").touch()
    assert new.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert os.listdir(old.parent) == ["old.png"]
    assert not list(tmp_path.glob("*/.*"))


@pytest.mark.parametrize("name", FILE_WRITERS)
def test_a_read_only_folder(name, open_folder):
    path = open_folder / name_of(name)
    path.write_text("old")
    with as_nobody():
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        with pytest.raises(PermissionError, match=path.name):
            FILE_WRITERS[name](path)
    assert (os.listdir(open_folder), path.read_text()) == ([path.name], "old")


@pytest.mark.parametrize("fault", [small_disk, full_at_fsync])
@pytest.mark.parametrize("name", FOLDER_WRITERS)
def test_a_full_disk_leaves_no_folder(name, fault, tmp_path):
    with fault(), pytest.raises(OSError, match=r"\[Errno"):
        FOLDER_WRITERS[name](tmp_path / "model")
    left = [path for path in tmp_path.rglob("*") if path.is_file() or path.name.startswith(TEMPORARY)]
    assert not left


@pytest.mark.parametrize("name", FOLDER_WRITERS)
def test_a_file_of_a_folders_name_is_left(name, tmp_path):
    (tmp_path / "model").write_text("mine")
    with pytest.raises((OSError, ValueError), match="model"):
        FOLDER_WRITERS[name](tmp_path / "model")
    assert (os.listdir(tmp_path), (tmp_path / "model").read_text()) == (["model"], "mine")


def test_a_folder_is_replaced_in_one_step_or_stays(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(FileExistsError, match="not empty"), replacing_folder(target):
        pass
    with pytest.raises(ZeroDivisionError), replacing_folder(target, overwrite=True) as folder:
        (folder / "new").write_text("new")
        raise ZeroDivisionError
    assert os.listdir(target) == ["old"]
    with replacing_folder(target, overwrite=True) as folder:
        (folder / "new").write_text("new")
        (folder / "new").chmod(0o600)  # as safetensors and tempfile make files
    assert (os.listdir(tmp_path), os.listdir(target)) == (["model"], ["new"])
    (tmp_path / "plain").touch()
    assert (target / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_where_names_cannot_be_exchanged(exchange, tmp_path, monkeypatch):
    if not exchange:
        monkeypatch.setattr("hf_zsar.files._exchange", lambda first, second: False)
    for round_number in range(2):
        with replacing_folder(tmp_path / "model", overwrite=True) as folder:
            (folder / str(round_number)).touch()
    assert (os.listdir(tmp_path), os.listdir(tmp_path / "model")) == (["model"], ["1"])


def test_the_slower_of_two_does_not_replace_the_folder_of_the_faster(tmp_path):
    with (
        pytest.raises(OSError, match="model"),
        replacing_folder(tmp_path / "model"),
        replacing_folder(tmp_path / "model") as folder,
    ):
        (folder / "first").touch()
    assert (os.listdir(tmp_path), os.listdir(tmp_path / "model")) == (["model"], ["first"])


def test_finished_folders_move_in_and_out_as_a_whole(tmp_path):
    (tmp_path / "draft").mkdir()
    (tmp_path / "draft" / "file").touch()
    put_folder(tmp_path / "draft", tmp_path / "final")
    assert os.listdir(tmp_path / "final") == ["file"]
    remove_folder(tmp_path / "final")
    remove_folder(tmp_path / "never there")
    assert not os.listdir(tmp_path)


def test_checks_say_beforehand_what_writing_would(tmp_path, open_folder):
    check_file(tmp_path / "new.json")
    check_folder(tmp_path / "new" / "folder")
    assert not os.listdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        check_file(tmp_path / "new" / "file.json")
    (tmp_path / "file").touch()
    for name in ("file", "file/below/it"):
        with pytest.raises(NotADirectoryError, match="file is not a folder"):
            check_folder(tmp_path / name)
    with as_nobody():
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        for check in (check_file, check_folder):
            with pytest.raises(PermissionError, match="new"):
                check(open_folder / "new")


def in_child(work: Callable[[], None]) -> int:
    """Run in a child process; gives its id when it has reported for work, with a byte, and waits."""
    ours, theirs = os.pipe()
    process = os.fork()
    if not process:
        try:
            work_with_signal(work, theirs)
        finally:
            os._exit(1)
    os.close(theirs)
    assert os.read(ours, 1) == b"."
    os.close(ours)
    return process


def work_with_signal(work: Callable[[], None], pipe: int) -> None:
    with work():
        os.write(pipe, b".")
        signal.pause()


PLACES = {
    "file": lambda folder: replacing(folder / "x"),
    "folder": lambda folder: replacing_folder(folder / "y"),
    "filling": lambda folder: filling_folder(folder, last="z"),
    "place": workplace,
}


@pytest.mark.parametrize("name", PLACES)
def test_what_dead_processes_left_goes_and_what_living_ones_write_stays(name, tmp_path):
    living = in_child(lambda: PLACES[name](tmp_path))
    dead = in_child(lambda: PLACES[name](tmp_path))
    try:
        os.kill(dead, signal.SIGKILL)
        os.waitpid(dead, 0)
        assert len(os.listdir(tmp_path)) == 2
        write_json(tmp_path / "other.json", 1)
        assert len(os.listdir(tmp_path)) == 2  # the new file, and what the living one writes
    finally:
        os.kill(living, signal.SIGKILL)
        os.waitpid(living, 0)
    write_json(tmp_path / "other.json", 2)
    assert os.listdir(tmp_path) == ["other.json"]


def test_temporary_folders_of_killed_processes_go(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = in_child(scratch_folder)
    os.kill(dead, signal.SIGKILL)
    os.waitpid(dead, 0)
    with scratch_folder() as folder:
        (folder / "file").touch()
        assert len(os.listdir(tmp_path)) == 1
    assert not os.listdir(tmp_path)


def test_a_killed_description_writer_is_written_over(tmp_path):
    """Descriptions are written by code that travels to the Hub without this package: a locked name of its own."""
    path = tmp_path / "d.json"

    def killed() -> None:
        os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
        FILE_WRITERS["Descriptions.save"](path)

    process = os.fork()
    if not process:
        killed()
        os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(process, 0)[1])
    assert len(os.listdir(tmp_path)) == 1 and not path.exists()
    FILE_WRITERS["Descriptions.save"](path)
    assert os.listdir(tmp_path) == ["d.json"]
    assert Descriptions.load(path)


@pytest.mark.parametrize("plant", ["link", "stranger"])
def test_nothing_of_others_is_removed(plant, tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "mine").touch()
    folder = tmp_path / "folder"
    folder.mkdir()
    if plant == "link":
        (folder / f"{TEMPORARY}x").symlink_to(victim)
    else:
        (folder / f"{TEMPORARY}x").mkdir()
        monkeypatch.setattr("hf_zsar.modeling.file_writing._user", lambda: os.geteuid() + 1)
    write_json(folder / "a.json", 1)
    assert os.listdir(victim) == ["mine"]
    assert sorted(os.listdir(folder)) == [f"{TEMPORARY}x", "a.json"]


def test_the_cache_says_where_it_went(tmp_path, open_folder, monkeypatch, caplog):
    monkeypatch.delenv("HF_ZSAR_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def nobody_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "home", nobody_home)
        found = cache_folder(writable=True)
    assert found.parent == tmp_path and stat.S_IMODE(found.stat().st_mode) == 0o700
    assert str(found) in caplog.text and "HF_ZSAR_HOME" in caplog.text
    monkeypatch.setenv("HOME", str(open_folder))
    assert cache_folder() == open_folder / ".cache" / "hf_zsar"  # reading needs no right to write
    found.chmod(0o777)
    with monkeypatch.context() as patch, pytest.raises(PermissionError, match="HF_ZSAR_HOME"):
        patch.setattr(Path, "home", nobody_home)
        cache_folder(writable=True)


# Where something is written without the helper, and why that is right.
BARE_WRITERS = {
    "the helper itself": {
        "modeling/file_writing.py": {"_new_folder"},
        "hf_zsar/files.py": {"_put_in_place"},
    },
    "travels to the Hub without the package; as careful by itself": {
        "processing/description_documents.py": {"write_text", "_open_alone"},
    },
    "fills a temporary folder, or draws a temporary file, of its caller": {
        "hf_zsar/conversion/checkpoint_files.py": {"_write"},
        "hf_zsar/plots/explanation.py": {"_draw_gif"},
        "hf_zsar/hub/exporting.py": {"add_code", "_add_adapter", "_update_json", "_write_readme"},
        "hf_zsar/hub/pushing.py": {"_name_repository", "_take_along"},
        "hf_zsar/hub/space.py": {"write_space"},
    },
    "the method of transformers that fills a folder of the caller's": {
        "hf_zsar/pipeline_video_scoring.py": {"save_pretrained"},
        "modeling/modeling_zsar.py": {"save_pretrained"},
        "processing/processing_zsar.py": {"save_pretrained"},
    },
    "where an export's code stands alone, which has no helper": {"processing/descriptions.py": {"save"}},
    "appends, forced to the disk line by line": {"hf_zsar/files.py": {"append_line"}},
    "temporary files": {
        "processing/video_download.py": {"_temporary_file"},
        "hf_zsar/demo/guard.py": {"upload_folder"},
    },
    "opens the null device": {"hf_zsar/cli/__init__.py": {"_prepare_streams"}},
    "makes this repository's own files": {"hf_zsar/hub/method_cards.py": {"main"}},
}
_WRITES = {
    *("write_text", "write_bytes", "savefig", "save_file", "to_parquet", "write_table", "save_pretrained", "mkdtemp"),
    *("mkstemp", "TemporaryDirectory", "NamedTemporaryFile", "replace", "rename", "copy", "copyfile", "copytree"),
    *("dump", "savez", "save", "open"),
}
_HELPERS = {"replacing", "replacing_folder", "filling_folder", "workplace", "scratch_folder"}


def bare_writes(tree: ast.AST, where: tuple[str, ...] = ()) -> Iterator[tuple[str, int]]:
    """(function, line) of calls that write to the disk outside a `with` of a helper."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield from bare_writes(node, (*where, node.name))
        elif isinstance(node, ast.With) and any(_called(item.context_expr) in _HELPERS for item in node.items):
            continue
        else:
            if isinstance(node, ast.Call) and _writes(node):
                yield (where[-1] if where else "", node.lineno)
            yield from bare_writes(node, where)


def _called(node: ast.AST) -> str:
    function = getattr(node, "func", None)
    return getattr(function, "attr", getattr(function, "id", ""))


def _writes(call: ast.Call) -> bool:
    name, owner = _called(call), getattr(getattr(call.func, "value", None), "id", "")
    if name == "open":
        modes = [each.value for each in call.args[1:2] if isinstance(each, ast.Constant)]
        return any(set("wax+") & set(str(mode)) for mode in modes)
    if name in ("replace", "rename", "copy", "copyfile", "copytree", "dump", "save", "savez"):
        return owner in ("os", "shutil", "json", "torch", "np", "yaml")
    return name in _WRITES and (isinstance(call.func, ast.Attribute) or not name.startswith("write_"))


def test_every_writer_goes_through_the_helper(repo_root):
    known = {(file, function) for part in BARE_WRITERS.values() for file, names in part.items() for function in names}
    paths = [path for folder in ("hf_zsar", "modeling", "processing") for path in (repo_root / folder).rglob("*.py")]
    for path in paths:
        name = path.relative_to(repo_root).as_posix()
        found = {(name, function) for function, _ in bare_writes(ast.parse(path.read_text(encoding="utf-8")))}
        assert found <= known, "write through hf_zsar.files, and let the writer join FILE_WRITERS or FOLDER_WRITERS"


@pytest.mark.parametrize(
    "source",
    [
        "def f(path):\n    path.write_text('x')",
        "def f(path):\n    os.replace(path, path)",
        "def f(path):\n    with open(path, 'ab') as file:\n        file.write(b'x')",
        "def f(path):\n    with other(path) as name:\n        save_file({}, name)",
    ],
)
def test_the_search_notices(source):
    assert [function for function, _ in bare_writes(ast.parse(source))] == ["f"]


def test_the_search_knows_the_helper():
    source = "def f(path):\n    with replacing(path) as name:\n        save_file({}, name)\n    open(path)"
    assert not list(bare_writes(ast.parse(source)))
