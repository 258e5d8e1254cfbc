"""Answers survive: caching by label, prompt and model; going on after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hf_zsar.descriptions import Journal, LanguageModel, LLMGraphs, TransformersLLMGenerator
from hf_zsar.processing.descriptions import DescriptionError


class Counting:
    def __init__(self, reply='["bow", "arrow"]'):
        self.calls, self.answer = 0, reply

    def __call__(self, messages):
        self.calls += 1
        return self.answer


def test_second_run_asks_nothing(tmp_path):
    llm = Counting()
    first = TransformersLLMGenerator(llm, tmp_path / "j.jsonl").generate("archery", ["Text."], n=2)
    assert llm.calls == 1
    again = TransformersLLMGenerator(llm, tmp_path / "j.jsonl")
    assert again.generate("archery", ["Text."], n=2) == first == ["bow", "arrow"]
    assert llm.calls == 1 and again.made_by == "llm"


@pytest.mark.parametrize(
    "ask",
    [
        lambda g: g("archery2", ["Text."], n=2),
        lambda g: g("archery", ["Other text."], n=2),
        lambda g: g("archery", [], n=2),
        lambda g: g("archery", ["Text."], n=1),
    ],
)
def test_another_label_text_or_number_is_another_question(tmp_path, ask):
    llm = Counting()
    generator = TransformersLLMGenerator(llm, tmp_path / "j.jsonl")
    generator.generate("archery", ["Text."], n=2)
    ask(generator.generate)
    assert llm.calls == 2


def test_another_model_is_another_question():
    journal, llm = Journal(), Counting()
    for name, revision in (("a", None), ("b", None), ("a", "main"), ("a", None)):
        model = LanguageModel(name, lambda messages, _: llm(messages), revision)
        TransformersLLMGenerator(model, journal).generate("archery", n=2)
    assert llm.calls == 3


def test_failed_graphs_are_remembered_as_failures(tmp_path):
    llm = Counting("no graph here")
    for _ in range(2):
        graph = LLMGraphs(llm, tmp_path / "j.jsonl", retries=1).generate("archery", ["She draws a bow."])
        assert graph.objects == ("bow",)
    assert llm.calls == 2


def test_torn_last_line_is_cut_off(tmp_path):
    path = tmp_path / "j.jsonl"
    journal = Journal(path)
    journal.put("k1", "a", value=1)
    journal.put("k2", "b", value=2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    torn = Journal(path)
    assert set(torn.records) == {"k1"}
    torn.put("k3", "c", value=3)
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["k1", "k3"]
    assert set(Journal(path).records) == {"k1", "k3"}


def test_labels_with_line_separators_stay_on_one_line(tmp_path):
    Journal(tmp_path / "j.jsonl").put("k", "a\u2028b\x85c", value="\u2029")
    assert Journal(tmp_path / "j.jsonl").get("k")["label"] == "a\u2028b\x85c"


def test_file_that_is_no_journal(tmp_path):
    path = tmp_path / "graph.json"
    path.write_text('{\n "schema": 1\n}\n')
    with pytest.raises(DescriptionError, match="line 1 is not a cache record; name another file"):
        Journal(path)


WORKER = """
import sys, time
from hf_zsar.descriptions import TransformersLLMGenerator, build_attribute_bank

out, calls, labels, delay = sys.argv[1], sys.argv[2], sys.argv[3].split(","), float(sys.argv[4])

def llm(messages):
    with open(calls, "a") as file:
        file.write("x")
    time.sleep(delay)
    label = messages[0]["content"].split('Action: "')[1].split('"')[0]
    return f'["{label} tool", "{label} place"]'

generator = TransformersLLMGenerator(llm, out + ".cache.jsonl")
build_attribute_bank(labels, generator, n=2).save(out)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_run_goes_on_where_it_stopped(tmp_path):
    labels = [f"label{i}" for i in range(8)]

    def command(out, calls, delay):
        return [sys.executable, "-c", WORKER, str(out), str(calls), ",".join(labels), str(delay)]

    out, calls = tmp_path / "a.json", tmp_path / "calls"
    journal = Path(f"{out}.cache.jsonl")
    with subprocess.Popen(command(out, calls, 0.2)) as process:
        for _ in range(3000):
            if journal.exists() and journal.read_bytes().count(b"\n") >= 3:
                break
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    known = journal.read_bytes().count(b"\n")
    assert 3 <= known < len(labels) and not out.exists()
    asked = calls.stat().st_size
    subprocess.run(command(out, calls, 0), check=True)
    assert calls.stat().st_size - asked == len(labels) - known

    subprocess.run(command(tmp_path / "b.json", tmp_path / "calls_b", 0), check=True)
    assert out.read_bytes() == (tmp_path / "b.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
