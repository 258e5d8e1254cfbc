"""Lists as people save them: marks, encodings, separators; and names of any bytes printed again."""

from __future__ import annotations

import json
import os

import pytest

from hf_zsar.cli.common import CommandError, read_labels_file
from hf_zsar.clips.tables import lines_of, parse_table, read_json_lines
from hf_zsar.descriptions import read_texts
from hf_zsar.evaluation.records import FORMAT, load_record
from hf_zsar.printing import dump_json, printable
from hf_zsar.processing.text_files import TextFileError, decode, read_json, read_text
from hf_zsar.training.recipe import RecipeError, load_recipe


# What Notepad, Excel, PowerShell's `>` and Java write; the last is what everything else does.
ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-be-mark", "utf-32", "utf-8")


def encoded(text: str, encoding: str) -> bytes:
    if encoding == "utf-16-be-mark":
        return b"\xfe\xff" + text.encode("utf-16-be")
    return text.encode(encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_byte_order_mark_says_the_encoding_and_is_no_text(tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes(encoded("Schuhe zubinden ✓\r\nüben", encoding))
    assert lines_of(read_text(path)) == ["Schuhe zubinden ✓", "üben"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_reader_of_a_users_file_takes_marks(tmp_path, encoding):
    """Labels, descriptions, their texts, class lists, records and recipes; lists have their own tests."""

    def written(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_bytes(encoded(text, encoding))
        return str(path)

    for name, text in (
        ("l.txt", "üben\nyoga\n"),
        ("l.json", '["üben", "yoga"]'),
        ("l.csv", "name\nüben\nyoga\n"),
        ("l.tsv", "id\tname\n0\tüben\n1\tyoga\n"),
    ):
        assert read_labels_file(written(name, text)) == ["üben", "yoga"], name
    assert read_json(written("d.json", '{"a": "ü"}')) == {"a": "ü"}
    assert read_texts(written("t.txt", "üben: a person practises\n")).labels == ["üben"]
    assert read_texts(written("t.jsonl", '{"label": "üben", "text": "a person practises"}\n')).labels == ["üben"]
    assert load_record(written("r.json", json.dumps({"format": FORMAT, "a": "ü"}, ensure_ascii=False)))["a"] == "ü"
    with pytest.raises(RecipeError, match="missing fields"):
        load_recipe(written("r.yaml", "method: rest\noutput: ü\n"))


def test_other_encodings_are_refused_with_their_line():
    with pytest.raises(TextFileError, match=r"l\.txt is not UTF-8 \(line 2\): save it as UTF-8"):
        decode("yoga\nüben".encode("cp1252"), "l.txt")
    with pytest.raises(TextFileError, match="zero bytes"):
        decode("yoga".encode("utf-16-le"), "l.txt")
    with pytest.raises(TextFileError, match="not UTF-16-LE"):
        decode(b"\xff\xfea", "l.txt")
    assert decode("caf\xe9.avi".encode("latin-1"), "l.txt", "surrogateescape") == "caf\udce9.avi"


def test_a_recipe_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "r.yaml").write_bytes("output: ü".encode("cp1252"))
    with pytest.raises(RecipeError, match="save it as UTF-8"):
        load_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("first", ["", "sep={}\r\n", '"sep={}"\r\n'])
def test_tables_are_separated_by_what_their_header_is(mark, first):
    rows = [["File", " Label "], ["a, b; c.avi", "kick\tball|x"], [], ["d.avi", "yoga "]]
    text = "\r\n".join(mark.join(f'"{cell}"' if mark in cell else cell for cell in row) for row in rows)
    columns, found = parse_table(first.format(mark) + text, "l.csv")
    assert columns == ["file", "label"]
    before = bool(first)
    assert found == [
        (2 + before, {"file": "a, b; c.avi", "label": "kick\tball|x"}),
        (4 + before, {"file": "d.avi", "label": "yoga"}),
    ]


def test_cells_that_no_column_has_are_not_dropped():
    with pytest.raises(TextFileError, match=r"l\.csv, entry 3: 3 cells under 2 columns. Quote"):
        parse_table("file,label\na.avi,yoga\nb.avi,cooking, slowly\n", "l.csv")
    assert parse_table("file,label\na.avi,yoga,,\n", "l.csv")[1] == [(2, {"file": "a.avi", "label": "yoga"})]


def test_a_quote_that_is_never_closed_swallows_nothing():
    with pytest.raises(TextFileError, match="l.csv, line 3"):
        parse_table('file,label\na.avi,"yoga\nb.avi,cooking\n', "l.csv")


def test_labels_in_semicolons_and_a_label_too_many(tmp_path):
    (tmp_path / "l.csv").write_text("id;name\n0;cooking, slowly\n")
    assert read_labels_file(str(tmp_path / "l.csv")) == ["cooking, slowly"]
    (tmp_path / "l.csv").write_text("name\ncooking, slowly\n")
    with pytest.raises(CommandError, match="entry 2"):
        read_labels_file(str(tmp_path / "l.csv"))


def test_lines_of_json_may_hold_any_mark(tmp_path):
    (tmp_path / "l.jsonl").write_text('{"a": "x\u2028y"}\r\n\r\n{"a": 2}', encoding="utf-8", newline="")
    assert list(read_json_lines(tmp_path / "l.jsonl")) == [(1, {"a": "x\u2028y"}), (3, {"a": 2})]
    (tmp_path / "l.jsonl").write_text('{"a": 1}\n{"a"\n')
    with pytest.raises(TextFileError, match=r"l\.jsonl, line 2.* is not JSON"):
        list(read_json_lines(tmp_path / "l.jsonl"))


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
@pytest.mark.parametrize("name", [b"caf\xe9 \xff.avi", "дом █ 😀 é.avi".encode(), b"plain.avi"])
def test_json_survives_any_name_in_any_encoding(name, encoding):
    value = {"video": os.fsdecode(name)}
    text = dump_json(value, encoding).encode(encoding).decode(encoding)
    assert json.loads(text) == value
    assert os.fsencode(json.loads(text)["video"]) == name
    with pytest.raises(ValueError, match="JSON compliant"):
        dump_json(float("nan"))


def test_printable_text():
    assert printable("é█ \x1b[2J\r a\tb\nc\udcff", "cp1252") == "é\\u2588 \\x1b[2J\\r a\tb\nc\\udcff"
    assert printable("дом 😀") == "дом 😀"
