"""The demo of a pushed model as a Hugging Face Space.

The Space carries copies of the demo's own files and loads the model with the code in the model's repository, pinned to
the commit it was made for. So it needs nothing but libraries that everybody can install.
"""

from __future__ import annotations

from importlib import metadata, resources
from pathlib import Path

from huggingface_hub import CommitInfo, HfApi, SpaceCardData
from huggingface_hub.utils import validate_repo_id

from hf_zsar.files import scratch_folder

from .transfer import HUB_ERRORS, PushError, Target, files_to_push, reason, upload


SPACE_FILES = ("README.md", "app.py", "requirements.txt", "zsar_demo/*.py")
CODE_FOLDER = "zsar_demo"
# What the demo and the model's own code import; at least the versions that this installation has.
REQUIREMENTS = ("torch", "transformers", "safetensors", "av", "numpy", "pillow")

APP = '''"""A demo of {model}; made with `hf-zsar push-space`."""

from transformers import pipeline
from zsar_demo.app import launch

pipe = pipeline(
    "zero-shot-video-classification", model={model!r}, revision={revision!r}, trust_remote_code=True
)
launch(pipe, title={title!r}, host="0.0.0.0", port=7860)
'''

README = """---
{metadata}
---

A demo of [{model}](https://huggingface.co/{model}), a zero-shot action recognition model: drop a video, type what may
happen in it, and see how well each name fits and what the score was made of.

Uploads are kept for at most an hour and lie in a folder that is removed when the Space stops.
"""


def push_space(
    repo_id: str,
    model: str,
    *,
    title: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
) -> CommitInfo:
    """Make or update a Gradio Space with the demo of a model.

    Args:
        repo_id: `namespace/name` of the Space.
        model: repository of a model that was pushed with its code (`hf_zsar.hub.push`).
        title: heading of the page; the model's name by default.
        private: visibility of a new Space. For a private model, also give the Space a token as the secret `HF_TOKEN`.
        token, endpoint: as for [`HfApi`].

    Returns:
        The commit.

    Raises:
        PushError: the model is not there or has no code with it, or the Hub refuses.
    """
    api = HfApi(endpoint=endpoint, token=token)
    revision, license = _model_state(api, model)
    with scratch_folder() as scratch:
        folder = write_space(scratch, model, revision, title or model.rsplit("/", 1)[-1], license)
        target = Target(repo_id, repo_type="space", private=private, space_sdk="gradio")
        files = files_to_push(folder, SPACE_FILES)
        return upload(api, files, target, f"Demo of {model}", owned=(f"{CODE_FOLDER}/*.py",))


def _model_state(api: HfApi, model: str) -> tuple[str, str | None]:
    try:
        info = api.model_info(model)
    except HUB_ERRORS as error:
        raise PushError(f"Cannot make a Space for {model}: {reason(error).rstrip('.')}.") from error
    names = {sibling.rfilename for sibling in info.siblings or ()}
    if not any(name.endswith(".py") for name in names):
        raise PushError(f"{model} carries no code, so a Space cannot load it: push it with `hf-zsar push` first.")
    return str(info.sha), info.card_data.get("license") if info.card_data else None


def write_space(folder: Path, model: str, revision: str, title: str, license: str | None = None) -> Path:
    """Write the files of a Space into a folder.

    Raises:
        ValueError: `model` is not a repository id.
    """
    import gradio

    validate_repo_id(model)  # it stands in code and Markdown

    card = SpaceCardData(
        title=title,
        emoji="🎬",
        colorFrom="yellow",
        colorTo="red",
        sdk="gradio",
        sdk_version=gradio.__version__,
        app_file="app.py",
        license=license,
        models=[model],
        pinned=False,
    )
    (folder / "README.md").write_text(README.format(metadata=card.to_yaml(), model=model), encoding="utf-8")
    app = APP.format(model=model, revision=revision, title=title)
    (folder / "app.py").write_text(app, encoding="utf-8")
    lines = [f"{name}>={_release(name)}" for name in REQUIREMENTS]
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    code = folder / CODE_FOLDER
    code.mkdir()
    for file in sorted(resources.files("hf_zsar.demo").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".py"):
            (code / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def _release(name: str) -> str:
    """The installed version without a local part such as `+cpu`."""
    return metadata.version(name).split("+")[0]
