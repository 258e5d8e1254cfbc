"""The template of all model cards, the text of each method (`<method>.yaml`) and its card (`<method>.md`).

Imported as `hf_zsar.model_cards`; only files are read from here (see `hf_zsar.hub.cards`). The cards are written by
`python -m hf_zsar.hub.method_cards`.
"""
