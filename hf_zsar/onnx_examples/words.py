"""Probabilities of labels (plain words) for videos [B, T, 3, H, W] of normalized frames; scoring.json says more."""
import json, pathlib, numpy as np, onnxruntime, tokenizers
HERE = pathlib.Path(__file__).parent
TEXT = json.loads((HERE / "scoring.json").read_text(encoding="utf-8"))["text"]
TOKENIZER = tokenizers.Tokenizer.from_file(str(HERE / "tokenizer.json"))
TOKENIZER.enable_truncation(TEXT["max_tokens"])
TOKENIZER.enable_padding(**TEXT["padding"])
def run(graph, tensors):
    session = onnxruntime.InferenceSession(HERE / f"{graph}.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {each.name: tensors[each.name] for each in session.get_inputs()})
    return {each.name: tensor for each, tensor in zip(session.get_outputs(), found)}
def text_inputs(labels):
    starts = [(each, each.index("{}")) for each in TEXT["templates"]]
    own = [[[text.replace("{}", x), [[at, at + len(x)]]] for text, at in starts] for x in labels]
    sides = {"prompt_index": own, "attribute_index": [TEXT["described"].get(x, o) for x, o in zip(labels, own)]}
    rows, index = [], {}
    for name, side in sides.items():
        first = len(rows) + np.cumsum([0, *map(len, side)])
        rows, width = rows + sum(side, []), max(map(len, side))
        index[name] = np.array([[a + i if i < len(o) else -1 for i in range(width)] for a, o in zip(first, side)])
    tokens = TOKENIZER.encode_batch([text for text, _ in rows])
    ids, mask = np.array([each.ids for each in tokens]), np.array([each.attention_mask for each in tokens])
    inside = [[any(max(a, c) < min(b, d) for c, d in s) for a, b in t.offsets] for t, (_, s) in zip(tokens, rows)]
    kept = {"words": np.array(inside), "valid": mask == 1, "all": mask >= 0}[TEXT["word_mask_mode"]]
    index |= {"token_groups": np.where(kept, 0, -1), "word_index": index[TEXT["word_index"]]}
    return {"input_ids": ids, **index}
def probabilities(videos, labels):
    sides = run("video", {"pixel_values_videos": videos}) | run("text", text_inputs(labels))
    logits = run("score", sides)["logits_per_video"]
    return (shares := np.exp(logits - logits.max(1, keepdims=True))) / shares.sum(1, keepdims=True)
