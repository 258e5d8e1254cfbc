"""`hf-zsar describe`: what a method should know about labels beyond their names, made once and kept in a file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import common


if TYPE_CHECKING:
    from hf_zsar.descriptions.review import Review
    from hf_zsar.processing.descriptions import Descriptions

EPILOG = """\
Graphs are for STDD, attributes for DA-STI; both files go to --descriptions of the other commands.

  hf-zsar describe --kind graph --labels-file labels.txt --texts texts.json --out graph.json --draw graph.png
  hf-zsar describe --kind attributes --preset ucf101 --llm ORG/MODEL --out attributes.json
  hf-zsar describe --validate attributes.json --preset ucf101

Without --llm only your texts are read, English ones, by spaCy: weaker than a language model, but quick. A run with
--llm that is interrupted continues where it stopped when started again.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "describe",
        help="attributes and action graphs of labels, as a file",
        description="Make, import, check or draw a file of description attributes or action graphs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kind", choices=("graph", "attributes"), help="what to make")
    group = parser.add_argument_group("labels", "Several sources are joined; default: the labels that have texts.")
    group.add_argument("--labels", nargs="+", default=[], metavar="LABEL", help="class names, any words")
    group.add_argument("--labels-file", metavar="FILE", help="one label per line, or .json, or .csv with 'name'")
    group.add_argument("--preset", metavar="DATASET", help="class names of a data set: ucf101, hmdb51, kinetics400...")
    group = parser.add_argument_group("where the knowledge comes from")
    group.add_argument(
        "--texts",
        metavar="PATH",
        help="texts about the labels: folder of <label>.txt, .json {label: text}, .jsonl, a glossary `label: text`, "
        "a WordNet data file",
    )
    group.add_argument("--llm", metavar="ID_OR_FOLDER", help="a text-generation model to ask")
    group.add_argument("--llm-revision", metavar="REV", help="branch, tag or commit of that model")
    group.add_argument("--device", help="where the model runs (default: an accelerator if there is one)")
    group.add_argument("--cache", metavar="FILE", help="keeps the model's answers (default: OUT.cache.jsonl)")
    group.add_argument("--num-attributes", type=common.positive, metavar="N", help="per class (default 8)")
    group.add_argument("--scorer", choices=("rake", "yake"), help="how keywords of texts are ranked (rake)")
    group.add_argument("--pipeline", metavar="NAME", help="spaCy pipeline that reads the texts (en_core_web_sm)")
    group.add_argument(
        "--import-from",
        nargs="+",
        metavar="PATH",
        help="instead of making: the YAML files of STDD (graph, prompts, labels), or a JSON file in shorthand",
    )
    group = parser.add_argument_group("output")
    group.add_argument("--out", metavar="FILE", help="the JSON file to write")
    group.add_argument("--draw", metavar="FILE", help="also draw the graph of one label, .png or .svg")
    group.add_argument("--draw-label", metavar="LABEL", help="which label (default: the first)")
    group.add_argument("--validate", metavar="FILE", help="check an existing file, against the labels if given")
    group.add_argument("--tokenizer", metavar="ID_OR_FOLDER", help="with --validate: find texts that are too long")
    group.add_argument("--schema", action="store_true", help="print the JSON schema of --kind")


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar describe`."""
    args.draw = common.check_picture(args.draw)
    needs = {
        "draw_label": "draw",
        "tokenizer": "validate",
        **dict.fromkeys(("llm_revision", "device", "cache"), "llm"),
    }
    of_texts = dict.fromkeys(("scorer", "pipeline"), "llm import_from validate")
    makers = dict.fromkeys(("texts", "llm"), "import_from validate")
    common.check_options(args, needs, {**of_texts, **makers})
    if args.kind == "graph" and (args.num_attributes or args.scorer):
        raise common.CommandError("--num-attributes and --scorer are about attributes: use --kind attributes")
    if args.validate:
        return validate(args)
    if args.kind is None:
        raise common.CommandError("say what to make: --kind graph or --kind attributes")
    if args.schema:
        return print_schema(args.kind)
    if not args.out:
        raise common.CommandError("nothing to write: give --out FILE")
    if args.draw and args.kind != "graph":
        raise common.CommandError("--draw draws graphs, so it needs --kind graph")
    common.check_output(args.out)
    if args.llm:
        common.check_output(cache_path(args))
        common.check_device(args.device)
    descriptions = imported(args) if args.import_from else made(args)
    descriptions.save(args.out)
    report(args, descriptions)
    if args.draw:
        draw(args, descriptions)
    return 0


def made(args: argparse.Namespace) -> Descriptions:
    """Descriptions by a language model, or out of texts."""
    from datetime import date

    from hf_zsar.descriptions import build_attribute_bank, build_graph_bank, read_texts

    texts = read_texts(args.texts) if args.texts else None
    given = args.labels or args.labels_file or args.preset
    labels = texts.labels if texts is not None and not texts.glossary and not given else common.read_labels(args)
    options: dict[str, Any] = {"descriptions": texts, "created": date.today().isoformat(), "dataset": args.preset}
    options["progress"] = lambda items: common.progress(items, unit="label")
    if args.kind == "graph":
        return build_graph_bank(labels, graph_generator(args), **options)
    return build_attribute_bank(labels, attribute_generator(args), n=args.num_attributes or 8, **options)


def graph_generator(args: argparse.Namespace) -> Any:
    """The maker of graphs that was asked for."""
    from hf_zsar.descriptions import LLMGraphs, TextGraphs

    return LLMGraphs(language_model(args), cache_path(args)) if args.llm else TextGraphs(pipeline=args.pipeline)


def attribute_generator(args: argparse.Namespace) -> Any:
    """The maker of attributes that was asked for."""
    from hf_zsar.descriptions import KeywordExtractor, TransformersLLMGenerator

    if args.llm:
        return TransformersLLMGenerator(language_model(args), cache_path(args))
    return KeywordExtractor(args.scorer or "rake", pipeline=args.pipeline)


def language_model(args: argparse.Namespace) -> Any:
    """The model of `--llm`."""
    from hf_zsar.descriptions import LanguageModel

    common.hush_libraries()
    return LanguageModel.of(args.llm, device=args.device, revision=args.llm_revision)


def cache_path(args: argparse.Namespace) -> str:
    """Where answers are kept."""
    return args.cache or f"{args.out}.cache.jsonl"


def imported(args: argparse.Namespace) -> Descriptions:
    """Descriptions out of files of another layout."""
    from hf_zsar.descriptions import import_stdd_yaml
    from hf_zsar.processing.descriptions import Descriptions

    if len(args.import_from) == 1 and args.import_from[0].endswith(".json"):
        return Descriptions.of(args.import_from[0], args.kind)
    if args.kind != "graph":
        raise common.CommandError("attributes are imported from one .json file; YAML files hold graphs (--kind graph)")
    labels = common.read_labels(args) if args.labels or args.labels_file or args.preset else None
    result = import_stdd_yaml(args.import_from, labels, dataset=args.preset)
    for remark in result.remarks:
        common.say(f"note: {remark}")
    return result.descriptions


def report(args: argparse.Namespace, descriptions: Descriptions) -> None:
    """One line about what was written, and what is weak in it."""
    from hf_zsar.descriptions.review import review

    findings = review(descriptions)
    common.say(f"{args.out}: {findings.summary}")
    for remark in findings.remarks:
        common.say(f"note: {remark}")


def draw(args: argparse.Namespace, descriptions: Descriptions) -> None:
    """The picture of one label's graph."""
    from hf_zsar.plots.graph import draw_graph

    label = args.draw_label or next(iter(descriptions))
    graph = descriptions.require("graph").for_label(label)
    if graph is None:
        raise common.CommandError(f"no graph for the label {label!r} to draw")
    draw_graph(graph, args.draw)
    common.say(f"{args.draw}: {label}")


def validate(args: argparse.Namespace) -> int:
    """Check a file and say what was found; 1 when it lacks some of the labels.

    Raises:
        CommandError: it holds no descriptions, or others than asked for.
    """
    from hf_zsar.descriptions.review import review_file

    labels = common.read_labels(args) if args.labels or args.labels_file or args.preset else []
    findings = review_file(args.validate, labels, args.kind, token_counter(args.tokenizer) if args.tokenizer else None)
    print_review(args.validate, findings)
    if findings.descriptions is None:
        raise common.CommandError(f"{args.validate} cannot be used: see the errors on standard output")
    if args.draw:
        draw(args, findings.descriptions)
    return int(bool(findings.errors))


def print_review(path: str, findings: Review) -> None:
    """The findings, on standard output."""
    print(f"{path}: {findings.summary}")
    for error in findings.errors:
        print(f"error: {error}")
    for remark in findings.remarks:
        print(f"note: {remark}")


def token_counter(name: str) -> Callable[[str], int]:
    """The length of a text in the tokens of a model, start and end included."""
    from transformers import AutoTokenizer

    from hf_zsar.hub.loading import readable

    with readable(name):
        tokenizer = AutoTokenizer.from_pretrained(name)
    return lambda text: len(tokenizer(text, truncation=False)["input_ids"])


def print_schema(kind: str) -> int:
    """The JSON schema (draft 2020-12), for editors and other programs."""
    from hf_zsar.processing.description_schemas import SCHEMAS

    common.print_json(SCHEMAS[kind])
    return 0
