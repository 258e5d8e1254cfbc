"""Push a model to the Hub: export, check, upload in one commit."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import CommitInfo, HfApi

from hf_zsar.files import scratch_folder
from hf_zsar.processing.text_files import read_json, read_text

from .cards import EXAMPLE_REPO
from .code import ExportError
from .exporting import export, is_export
from .facts import CardFacts
from .licenses import check_redistribution, source_licenses
from .loading import load
from .transfer import PushError, Target, files_to_push, upload
from .verification import verify_export


if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

logger = logging.getLogger(__name__)


def push(
    source: str | os.PathLike | PreTrainedModel,
    repo_id: str,
    *,
    processor: ProcessorMixin | None = None,
    card: CardFacts | str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    allow_restricted: bool = False,
    verify: bool = True,
    token: str | bool | None = None,
    endpoint: str | None = None,
) -> CommitInfo:
    """Upload a model with its processor, code, card and results in one commit.

    Before anything is sent, the export is loaded in a clean process without this package and must give the model's
    scores. A push that fails leaves the repository as it was; started again, it sends only what is missing.

    Args:
        source: a folder (an export, or what `save_pretrained` wrote: it is then exported first) or a model.
        repo_id: `namespace/name`; created when it does not exist.
        processor: with a model as `source`.
        card: facts for the model card or a ready README; by default the folder's README, else what the model tells.
        private: visibility of a new repository.
        revision: branch to commit to, made from `main` when it is missing.
        create_pr: open a pull request instead of committing to the branch.
        commit_message: title of the commit.
        allow_restricted: push although the license of the weights' source does not allow redistribution.
        verify: do the check described above.
        token, endpoint: as for [`HfApi`].

    Returns:
        The commit; with `create_pr`, its `pr_url` is the pull request.

    Raises:
        LicenseError: see `allow_restricted`.
        ExportError: the folder is not a model of this package, or the check failed.
        PushError: the Hub refuses or stays out of reach.
    """
    with scratch_folder() as scratch:
        folder = _as_export(source, processor, card, repo_id, scratch / "export")
        if not allow_restricted:
            check_redistribution(source_licenses(folder))
        if verify:
            verify_export(folder)
        files = files_to_push(folder)
        _name_repository(files, repo_id, scratch)
        logger.info("Pushing %d files to %s.", len(files), repo_id)
        target = Target(repo_id, revision=revision, create_pr=create_pr, private=private)
        api = HfApi(endpoint=endpoint, token=token)
        return upload(api, files, target, commit_message or f"Push {_kind(folder)} with hf_zsar")


def _as_export(
    source: str | os.PathLike | PreTrainedModel,
    processor: ProcessorMixin | None,
    card: CardFacts | str | None,
    repo_id: str,
    scratch: Path,
) -> Path:
    if not isinstance(source, (str, os.PathLike)):
        if processor is None:
            raise ExportError("A model alone cannot be used by others: pass its processor too.")
        return export(source, processor, scratch, card=_with_name(card, repo_id), verify=False)
    folder = Path(source)
    if not (folder / "config.json").is_file():
        raise ExportError(f"{folder} is not a model folder: it has no config.json.")
    if is_export(folder) and card is None:
        return folder
    model, processor = _load(folder)
    readme = folder / "README.md"
    if card is None and readme.is_file():
        card = read_text(readme)
    export(model, processor, scratch, card=_with_name(card, repo_id), verify=False)
    _take_along(folder, scratch)
    return scratch


def _with_name(card: CardFacts | str | None, repo_id: str) -> CardFacts | str:
    """The facts of a card, with the name of the repository unless they have one."""
    if isinstance(card, str):
        return card
    card = card or CardFacts()
    return card if card.repo_id else dataclasses.replace(card, repo_id=repo_id)


def _name_repository(files: dict[str, Path], repo_id: str, scratch: Path) -> None:
    """Put the repository's name where the card of an export has a placeholder. The export itself is left as it is."""
    readme = files.get("README.md")
    if readme is not None and EXAMPLE_REPO in (text := readme.read_text(encoding="utf-8")):
        files["README.md"] = scratch / "README.md"
        files["README.md"].write_text(text.replace(EXAMPLE_REPO, repo_id), encoding="utf-8")


def _load(folder: Path) -> tuple[PreTrainedModel, ProcessorMixin]:
    from hf_zsar import METHODS

    kinds = {spec.model_type: spec for spec in METHODS.values()}
    kind = _kind(folder)
    if kind not in kinds:
        raise ExportError(f"{folder} holds a {kind!r} model; this package pushes {', '.join(sorted(kinds))}.")
    return load(folder)


def _kind(folder: Path) -> str:
    config = read_json(folder / "config.json")
    return str(config.get("model_type") if isinstance(config, dict) else None)


def _take_along(folder: Path, scratch: Path) -> None:
    """Results, figures and license texts that lie beside a saved model go with it."""
    for name, file in files_to_push(folder, (".eval_results/*.yaml", "figures/*.png", "LICENSE*", "NOTICE*")).items():
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).write_bytes(file.read_bytes())


__all__: list[Any] = ["ExportError", "PushError", "push"]
