"""Options that push to the Hub, tried on loopback."""

from __future__ import annotations

import pytest

from hf_zsar.hub.card_callback import ModelCardCallback
from hf_zsar.hub.facts import CardFacts
from tests.hub.server import LoopbackHub
from tests.training.options import Bench, option


@option("`push_to_hub`, `hub_strategy`, with our card")
def push(bench: Bench) -> None:
    import hf_zsar

    with LoopbackHub() as hub, pytest.MonkeyPatch.context() as patch:
        hub.become_default(patch, bench.folder / "cache")
        patch.setenv("HF_TOKEN", hub.token)
        for strategy in ("end", "every_save", "checkpoint", "all_checkpoints"):
            trainer = bench.trainer(
                push_to_hub=True,
                hub_model_id=f"user/{strategy}",
                hub_strategy=strategy,
                hub_always_push=True,  # else one that takes longer than an update is waited for by none
                save_strategy="steps",
                save_steps=1,
                processing_class=bench.processor,
            )
            ModelCardCallback(CardFacts(license="mit"), data="rendered clips", classes=4).attach(trainer)
            trainer.train()
            trainer.push_to_hub()
            files = hub.files(f"user/{strategy}")
            card = files["README.md"].decode()
            assert f"\n# {strategy}\n" in card
            assert "rendered clips" in card and f'pipeline("user/{strategy}")' in card
            assert {"model.safetensors", "config.json", "tokenizer.json", "processor_config.json"} <= set(files)
            kept = {name.split("/")[0] for name in files if "checkpoint" in name}
            wanted = {"checkpoint": {"last-checkpoint"}, "all_checkpoints": {"checkpoint-1", "checkpoint-2"}}
            assert kept == wanted.get(strategy, set()), (strategy, sorted(files))
        classifier = hf_zsar.pipeline("user/end")
        best = classifier(bench.dataset[0]["video"]["path"], candidate_labels=bench.names)[0]
        assert best["label"] in bench.names
