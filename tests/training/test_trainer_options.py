"""Every option of the stock `Trainer` does with every method what the table in `train_scripts/README.md` says."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Sequence
from types import SimpleNamespace

import peft
import pytest
import torch
from accelerate.data_loader import DataLoaderDispatcher
from transformers.trainer import DEFAULT_CALLBACKS

from hf_zsar import METHODS
from hf_zsar.training.trainer_rules import TrainerRules
from tests.training import hub_options, process_options  # noqa: F401 - add their options
from tests.training.options import OPTIONS, Bench, Refused, expect_refusal, outcome
from tests.training.process_options import ROOT
from tests.training.runs import TRAINED


README = ROOT / "train_scripts" / "README.md"
START, END = "<!-- options: written by tests/training/test_trainer_options.py -->\n", "<!-- end of options -->"
WRITE = "HF_ZSAR_WRITE_TABLE"  # set it to write the table anew
NAMES = TRAINED
# No machine with GPUs has run these.
UNTESTED = ("FSDP on GPUs", "DeepSpeed on GPUs", "`fp16` on GPUs")
# Functions of the options that are tried with one method each by default; all with every method are slow.
QUICK = (
    "missing_column bare_rows streaming label_columns video_columns drop_last_in_evaluation fp16 smoothing by_length "
    "bf16 best_model resumed_epochs torchrun_apart accelerate_launch streamed_apart add_adapter other_classes "
    "batch_norms"
).split()
TITLES = {function.__name__: title for title, function in OPTIONS.items()}


def table(cells: dict[str, Sequence[str]]) -> str:
    """Markdown of option -> a cell for each method."""
    heads = [METHODS[name].prefix for name in NAMES]
    lines = [f"| option | {' | '.join(heads)} |", f"| --- |{' --- |' * len(heads)}"]
    return "\n".join([*lines, *(f"| {title} | {' | '.join(row)} |" for title, row in cells.items())]) + "\n"


def written() -> dict[str, list[str]]:
    """The table of the page."""
    text = README.read_text(encoding="utf-8").split(START)[1].split(END)[0]
    rows = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in text.strip().splitlines()[2:]]
    return {title: cells for title, *cells in rows}


@pytest.mark.slow
def test_the_table_is_what_happens(rendered, tmp_path):
    cells, problems = {}, []
    for number, title in enumerate(OPTIONS):
        cells[title] = []
        for method in NAMES:
            try:
                cells[title].append(outcome(title, Bench(method, rendered, tmp_path / f"{method}-{number}")))
            except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - all of them are listed
                cells[title].append("fails")
                problems.append(f"{title}, {method}: {type(error).__name__}: {error}")
    assert not problems, "\n\n".join(problems)
    cells |= {title: ["untested"] * len(NAMES) for title in UNTESTED}
    if os.environ.get(WRITE):
        before, _, rest = README.read_text(encoding="utf-8").partition(START)
        README.write_text(f"{before}{START}{table(cells)}{END}{rest.partition(END)[2]}", encoding="utf-8")
    assert written() == cells


def test_the_table_has_every_option_and_method():
    text = README.read_text(encoding="utf-8")
    assert written().keys() == {*OPTIONS, *UNTESTED}  # in which order depends on who imported options before
    assert {cell for row in written().values() for cell in row} == {"yes", "refused", "–", "untested"}
    assert table(written()) in text


@pytest.mark.parametrize("name", QUICK)
def test_an_option_does_what_the_table_says(name, rendered, tmp_path):
    cells = written()[TITLES[name]]
    number = next(i for i in range(len(NAMES)) if cells[(i + len(name)) % len(NAMES)] != "–") + len(name)
    method = NAMES[number % len(NAMES)]
    assert outcome(TITLES[name], Bench(method, rendered, tmp_path)) == cells[NAMES.index(method)]


# -- the rules --------------------------------------------------------------------------------------------------------


def test_every_trainer_has_the_rules_once_and_they_leave_others_alone():
    assert DEFAULT_CALLBACKS.count(TrainerRules) == 1
    arguments = SimpleNamespace(train_sampling_strategy="group_by_length", label_smoothing_factor=0.1, n_gpu=2)
    TrainerRules().on_init_end(arguments, None, None, model=torch.nn.Linear(1, 1))


def test_collators_are_told_seed_and_epoch_by_whatever_trainer_runs(rendered, tmp_path):
    collator = Bench("actionclip", rendered, tmp_path).trainer().data_collator
    for seeds, expected in (((5, None), [5, 2]), ((5, 0), [0, 2])):
        arguments = SimpleNamespace(seed=seeds[0], data_seed=seeds[1])
        TrainerRules().on_epoch_begin(arguments, SimpleNamespace(epoch=2.25), None)
        assert collator.run == tuple(expected)


def test_one_process_on_several_gpus_is_refused(rendered, tmp_path):
    model = Bench("actionclip", rendered, tmp_path).new_model()
    settings = {"train_sampling_strategy": "random", "label_smoothing_factor": 0.0, "fp16": False, "world_size": 1}
    adapted = peft.get_peft_model(copy.deepcopy(model), peft.LoraConfig(target_modules=list(model.lora_targets)))
    for each in (model, adapted):
        with pytest.raises(ValueError, match="2 GPUs.*torchrun"):
            TrainerRules().on_init_end(SimpleNamespace(n_gpu=2, **settings), None, None, model=each)


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(int, 1)


def test_batches_of_one_process_for_all_are_refused():
    loader = DataLoaderDispatcher(Endless())
    rules = TrainerRules()
    rules.on_train_begin(SimpleNamespace(world_size=1), None, None, train_dataloader=loader)
    with pytest.raises(ValueError, match="dispatch_batches"):
        rules.on_train_begin(SimpleNamespace(world_size=2), None, None, train_dataloader=loader)


def test_an_option_that_was_not_refused_is_an_error():
    with pytest.raises(pytest.fail.Exception), expect_refusal("words"):
        pass
    with pytest.raises(Refused), expect_refusal("words"):
        raise ValueError("words")
