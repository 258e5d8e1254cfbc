"""Probabilities of labels (plain words) for videos [B, T, 3, H, W] of normalized frames; scoring.json says more."""
import json, re
from pathlib import Path
import numpy as np, onnxruntime
from tokenizers import Tokenizer

HERE = Path(__file__).parent
TEXT = json.loads((HERE / "scoring.json").read_text(encoding="utf-8"))["text"]
TOKENIZER = Tokenizer.from_file(str(HERE / "tokenizer.json"))
TOKENIZER.enable_truncation(TEXT["max_tokens"])
TOKENIZER.enable_padding(**TEXT["padding"])

def run(graph, tensors):
    session = onnxruntime.InferenceSession(HERE / f"{graph}.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {each.name: tensors[each.name] for each in session.get_inputs()})
    return dict(zip([each.name for each in session.get_outputs()], found))

def text_inputs(labels):
    prompts = [TEXT["described"].get(x) or [each.replace("{}", x) for each in TEXT["templates"]] for x in labels]
    rows, width = list(dict.fromkeys(sum(prompts, []))), max(map(len, prompts))
    index = np.array([[rows.index(each) for each in own] + [-1] * (width - len(own)) for own in prompts])
    tokens = TOKENIZER.encode_batch(rows)
    ids, mask = np.array([each.ids for each in tokens]), np.array([each.attention_mask for each in tokens])
    seen = [TEXT["seen_classes"].get(re.sub(r"[\s_/'’‘\"“”-]+", "", x.casefold()), -1) for x in labels]
    return {"input_ids": ids, "attention_mask": mask, "prompt_index": index, "seen_index": np.array(seen)}

def probabilities(videos, labels):
    sides = {**run("video", {"pixel_values_videos": videos}), **run("text", text_inputs(labels))}
    logits = run("score", sides)["logits_per_video"]
    return (shares := np.exp(logits - logits.max(1, keepdims=True))) / shares.sum(1, keepdims=True)
