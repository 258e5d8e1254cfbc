"""Names of configuration fields: a wrong one is refused in a call, and warned of in a file."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from transformers import AutoConfig, AutoModel, CLIPConfig, CLIPModel

from hf_zsar import METHODS
from hf_zsar.modeling.dual_encoder import DualEncoderPreTrainedModel
from tests.tiny_models import tiny_clip_config, tiny_config, tiny_model


every_method = pytest.mark.parametrize("method", METHODS)
ON_CLIP = [method for method, spec in METHODS.items() if issubclass(spec.model_class, DualEncoderPreTrainedModel)]


@pytest.fixture
def warned(caplog, monkeypatch):
    """What transformers' loggers say."""
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("hf_zsar"), "propagate", True)
    caplog.set_level(logging.WARNING)
    return caplog


@pytest.mark.parametrize(
    ("method", "name", "near"),
    [
        ("actionclip", "sim_headr", "sim_header"),
        *((method, "num_frame", "num_frames") for method in METHODS),
        *((method, "initialiser_range", "initializer_range") for method in METHODS),
        ("dasti", "saliency_temprature", "saliency_temperature"),
        ("rest", "transfer_topk", "transfer_top_k"),
        ("stdd", "mask_ratio", "mask_rate"),
    ],
)
def test_a_name_that_is_no_field_is_refused_with_the_nearest(method, name, near, tmp_path):
    expected = f"no field {name!r} .did you mean {near}"
    config_class = METHODS[method].config_class
    with pytest.raises(ValueError, match=expected):
        config_class(**{name: 3})
    tiny_config(method).save_pretrained(tmp_path)
    for load in (config_class, AutoConfig):
        with pytest.raises(ValueError, match=expected):
            load.from_pretrained(tmp_path, **{name: 3})


@every_method
@pytest.mark.parametrize("name", ["temperature", "top_k", "num_beams"])
def test_settings_of_text_generation_are_no_fields(method, name):
    with pytest.raises(ValueError, match=f"no field {name!r}"):
        tiny_config(method, **{name: 2})


@pytest.mark.parametrize("method", ON_CLIP)
def test_from_clip_refuses_before_it_loads(method, tmp_path):
    model_class = METHODS[method].model_class
    with pytest.raises(ValueError, match="'num_frame' .did you mean num_frames"):
        model_class.from_encoder(tmp_path / "nowhere", num_frame=4)
    with pytest.raises(ValueError, match="'num_frame' .did you mean num_frames"):
        model_class.from_encoder(CLIPModel(CLIPConfig(**tiny_clip_config())), num_frame=4)


@every_method
def test_fields_of_a_newer_version_are_named_and_the_rest_is_read(method, tmp_path, warned):
    model = tiny_model(method)
    model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    stored = json.loads(file.read_text())
    # A misspelled field in a file, too; what transformers itself has stored in older versions is not news.
    file.write_text(json.dumps({**stored, "fusion_depth": 3, "num_frame": 7, "use_cache": True, "top_p": 1.0}))
    config_class = METHODS[method].config_class
    for load in (config_class.from_pretrained, config_class.from_json_file):
        warned.clear()
        config = load(file)
        assert "'fusion_depth', 'num_frame'" in warned.text and "top_p" not in warned.text
        assert config.num_frames == model.config.num_frames and not hasattr(config, "fusion_depth")
    loaded = AutoModel.from_pretrained(tmp_path)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())


@every_method
def test_what_transformers_puts_into_configurations_passes_in_silence(method, tmp_path, warned):
    config = tiny_config(method, dtype="bfloat16", num_labels=3, attn_implementation="eager", torch_dtype="float32")
    # Set by trainers, quantizers and the export to the Hub.
    config.use_cache, config.quantization_config = False, {"quant_method": "none"}
    config.auto_map, config.custom_pipelines = {"AutoConfig": "configuration.Config"}, {}
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path, num_labels=4, output_attentions=False)
    assert again.num_labels == 4 and again.quantization_config == {"quant_method": "none"}
    assert type(config)(**again.to_dict()).to_dict() == again.to_dict()
    assert "does not know" not in warned.text
