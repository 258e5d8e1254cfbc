"""Generators that ask a language model: fakes that answer well, badly or not at all, and real tiny random models."""

from __future__ import annotations

import json

import pytest
import yaml

from hf_zsar.descriptions import (
    LanguageModel,
    LLMGraphs,
    TransformersLLMGenerator,
    build_attribute_bank,
    build_graph_bank,
)
from hf_zsar.descriptions.language_model import PromptTooLongError, plain_prompt, without_system
from hf_zsar.descriptions.llm_graphs import EXAMPLE_GRAPH, clause_messages, graph_messages
from hf_zsar.descriptions.replies import parse_graph
from hf_zsar.processing.descriptions import Descriptions
from tests.descriptions.tiny_language_models import tiny_causal_model, tiny_seq2seq_model, tiny_tokenizer


TEXT = "An archer draws the string and releases the arrow at a round target."


class Scripted:
    """A language model that answers from a list and remembers the questions."""

    def __init__(self, *replies):
        self.replies, self.questions = list(replies), []

    def __call__(self, messages):
        self.questions.append(messages)
        return self.replies.pop(0)


# -- attributes ----------------------------------------------------------------------------------------------------


def test_prompt_holds_label_texts_and_number():
    llm = Scripted('["bow", "arrow"]')
    TransformersLLMGenerator(llm).generate("ApplyEyeMakeup", ["First.", "Second."], n=2)
    (question,) = llm.questions[0]
    assert 'Action: "apply eye makeup".' in question["content"]
    assert "Descriptions: (1) First. (2) Second.." in question["content"]
    assert "exactly 2 short" in question["content"]
    llm = Scripted('["bow", "arrow"]')
    TransformersLLMGenerator(llm).generate("archery", n=2)
    assert "Descriptions: none." in llm.questions[0][0]["content"]


def test_long_texts_are_cut_for_the_prompt():
    llm = Scripted('["bow"]')
    TransformersLLMGenerator(llm).generate("archery", ["word " * 5000] * 20, n=1)
    assert len(llm.questions[0][0]["content"]) < 9000


def test_missing_attributes_are_asked_for_once():
    llm = Scripted('["bow", "archery", "bow"]', '["arrow", "target"]')
    generator = TransformersLLMGenerator(llm)
    assert generator.generate("archery", n=3) == ["bow", "arrow", "target"]
    assert generator.made_by == "llm"
    assert [message["role"] for message in llm.questions[1]] == ["user", "assistant", "user"]
    assert "Give 2 more" in llm.questions[1][2]["content"]


def test_still_missing_ones_come_from_the_texts():
    generator = TransformersLLMGenerator(Scripted('["bow"]', "no"))
    assert generator.generate("archery", [TEXT], n=4) == ["bow", "round target", "drawing string", "releasing arrow"]
    assert generator.made_by == "llm+rake"
    generator = TransformersLLMGenerator(Scripted("no", ""))
    assert generator.generate("archery", [TEXT], n=2) == ["round target", "drawing string"]
    assert generator.made_by == "rake"
    generator = TransformersLLMGenerator(Scripted("no", ""))
    assert (generator.generate("archery", n=2), generator.made_by) == ([], "")


def test_bank_by_a_model_records_model_prompt_and_ground():
    llm = LanguageModel("some/model", lambda messages, _: '["bow", "arrow"]', revision="abc")
    bank = build_attribute_bank(["archery"], TransformersLLMGenerator(llm), {"archery": TEXT}, n=2)
    assert bank.generator["kind"] == "llm" and bank.generator["model"] == "some/model"
    assert bank.generator["revision"] == "abc" and "visual keywords" in bank.generator["prompt"]
    assert bank.generator["grounded"] is True
    assert bank.classes["archery"].meta["made_by"] == "llm"
    bare = build_attribute_bank(["archery"], TransformersLLMGenerator(llm), n=2)
    assert bare.generator["grounded"] is False
    assert Descriptions.from_dict(bare.to_dict()) == bare


# -- graphs --------------------------------------------------------------------------------------------------------

GRAPH_REPLY = """```yaml
objects: [bow, arrow]
object_relations:
- [arrow, on, bow]
action_relations:
- [archery, requires, bow]
sub_actions: [draw the bow, let go]
```"""
CLAUSES_REPLY = (
    "oo: [where the arrow lies on the bow]\nao: [which needs a bow]\naa: [starting with a pull, where a pull ends]"
)


def test_graph_in_two_questions():
    llm = Scripted(GRAPH_REPLY, CLAUSES_REPLY)
    generator = LLMGraphs(llm)
    graph = generator.generate("Archery", [TEXT])
    assert graph.objects == ("bow", "arrow") and graph.sub_actions == ("draw the bow", "let go")
    assert graph.relations["aa"] == (
        ("archery", "starts with", "draw the bow"),
        ("draw the bow", "precedes", "let go"),
    )
    assert graph.clause_list() == [
        "where the arrow lies on the bow",
        "which needs a bow",
        "starting with a pull",
        "where a pull ends",
    ]
    assert generator.made_by == "llm"
    first, second = llm.questions
    assert (
        first[0]["role"] == "system" and first[-1]["content"] == f"action entity: [archery]\nwhat is meant: (1) {TEXT}"
    )
    assert second[-1]["content"].startswith(
        "action: archery\noo:\n1. [arrow, on, bow]\nao:\n1. [archery, requires, bow]"
    )


def test_wrong_number_of_clauses_is_replaced_by_rules():
    graph = LLMGraphs(Scripted(GRAPH_REPLY, "oo: [a, b, c]\nao: [which needs a bow]")).generate("archery")
    assert graph.clauses["oo"] == ("where the arrow is on the bow",)
    assert graph.clauses["ao"] == ("which needs a bow",)
    assert graph.clauses["aa"][0] == "starting with drawing the bow"


def test_rules_only():
    llm = Scripted(GRAPH_REPLY)
    assert LLMGraphs(llm, verbalize=False).generate("archery").clauses["ao"] == ("which requires the bow",)
    assert len(llm.questions) == 1


def test_malformed_replies_are_sent_back_with_a_complaint():
    llm = Scripted("I think it is a sport.", "objects: [bow]", GRAPH_REPLY, CLAUSES_REPLY)
    assert LLMGraphs(llm).generate("archery").objects == ("bow", "arrow")
    assert llm.questions[1][-2]["content"] == "I think it is a sport."
    assert "not YAML" in llm.questions[1][-1]["content"]
    assert "sub_actions is missing" in llm.questions[2][-1]["content"]


def test_hopeless_model_falls_back_to_the_texts_and_says_so():
    llm = Scripted("no", "no", "no")
    generator = LLMGraphs(llm, retries=2)
    bank = build_graph_bank(["archery"], generator, {"archery": TEXT})
    assert llm.replies == []
    assert bank.classes["archery"].meta["made_by"] == "spacy"
    assert bank.for_label("archery").sub_actions == ("draw the string at a round target", "release the arrow")


def test_worked_examples_are_what_we_ask_for():
    example = parse_graph(EXAMPLE_GRAPH, "peeling an orange")
    assert len(example.objects) >= 5 and example.relations["oo"] and example.relations["ao"]
    _, question, answer, _ = clause_messages(example)
    asked = [line for line in question["content"].splitlines() if line[0].isdigit()]
    assert sum(len(clauses) for clauses in yaml.safe_load(answer["content"]).values()) == len(asked)
    assert [message["role"] for message in graph_messages("archery")] == ["system", "user", "assistant", "user"]


# -- any kind of model ---------------------------------------------------------------------------------------------


CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHAT


@pytest.mark.parametrize("template", [None, CHAT, NO_SYSTEM], ids=["plain", "chat", "no-system"])
@pytest.mark.parametrize("kind", ["attributes", "graph"])
def test_random_model_does_not_crash_and_falls_back(kind, template):
    pair = (tiny_causal_model(), tiny_tokenizer(template))
    if kind == "attributes":
        generator = TransformersLLMGenerator(pair, max_new_tokens=24)
        bank = build_attribute_bank(["archery"], generator, {"archery": TEXT}, n=4)
        assert "round target" in bank.for_label("archery") and "rake" in bank.classes["archery"].meta["made_by"]
    else:
        generator = LLMGraphs(pair, retries=1, max_new_tokens=24)
        bank = build_graph_bank(["archery"], generator, {"archery": TEXT})
        assert bank.for_label("archery").sub_actions and bank.classes["archery"].meta["made_by"] == "spacy"
    (record,) = generator.journal.records.values()
    assert len(record["replies"]) == 2 and all(isinstance(reply, str) for reply in record["replies"])


def test_random_model_is_asked_with_its_chat_template():
    model, tokenizer = tiny_causal_model(), tiny_tokenizer(CHAT)
    seen = []
    generate = model.generate
    model.generate = lambda **inputs: seen.append(inputs) or generate(**inputs)
    reply = LanguageModel.of((model, tokenizer)).reply([{"role": "user", "content": "héllo"}], 8)
    assert tokenizer.decode(seen[0]["input_ids"][0]) == "<user>héllo<assistant>"
    assert (seen[0]["do_sample"], seen[0]["max_new_tokens"]) == (False, 8)
    assert "héllo" not in reply
    assert reply == LanguageModel.of((model, tokenizer)).reply([{"role": "user", "content": "héllo"}], 8)


def test_models_from_a_folder_and_from_a_pipeline(tmp_path):
    from transformers import pipeline

    model, tokenizer = tiny_causal_model(), tiny_tokenizer(CHAT)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    messages = [{"role": "user", "content": "hello"}]
    by_pair = LanguageModel.of((model, tokenizer)).reply(messages, 8)
    by_name = LanguageModel.of(str(tmp_path), device="cpu")
    assert by_name.reply(messages, 8) == by_pair and by_name.name == str(tmp_path)
    by_pipeline = LanguageModel.of(pipeline("text-generation", model=model, tokenizer=tokenizer))
    assert by_pipeline.reply(messages, 8) == by_pair
    assert LanguageModel.of(by_name) is by_name


def test_encoder_decoder_models_too(tmp_path):
    model, tokenizer = tiny_seq2seq_model(), tiny_tokenizer()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    generator = TransformersLLMGenerator(LanguageModel.of(str(tmp_path), device="cpu"), max_new_tokens=16)
    assert "round target" in generator.generate("archery", [TEXT], n=4)


def test_prompt_longer_than_the_context_is_said_plainly():
    generator = TransformersLLMGenerator((tiny_causal_model(positions=256), tiny_tokenizer()))
    with pytest.raises(ValueError, match="too many for the 256 of LlamaForCausalLM; give shorter texts"):
        generator.generate("archery", [TEXT])


class Forgetful(Scripted):
    """Answers the first question; the next ones are too long for it."""

    def reply_once(self, messages, limit):
        if len(self.questions) == 1:
            raise PromptTooLongError("too long")
        return self(messages)


@pytest.mark.parametrize(
    ("make", "reply", "made_by"),
    [
        (TransformersLLMGenerator, '["bow"]', "llm+rake"),
        (LLMGraphs, "no", "spacy"),
        (LLMGraphs, GRAPH_REPLY, "llm"),
    ],
)
def test_no_room_for_a_second_question_is_no_failure(make, reply, made_by):
    generator = make(LanguageModel("forgetful", Forgetful(reply).reply_once))
    assert generator.generate("archery", [TEXT])
    assert generator.made_by == made_by


def test_what_is_no_model():
    with pytest.raises(TypeError, match="a name, a pipeline"):
        LanguageModel.of(3)


def test_conversations_as_plain_text():
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi?"}]
    assert plain_prompt(messages) == "Instruction: Be brief.\n\nQuestion: Hi?\n\nAnswer:"
    assert without_system(messages) == [{"role": "user", "content": "Be brief.\n\nHi?"}]
    assert json.dumps(messages) == json.dumps(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi?"}]
    )
