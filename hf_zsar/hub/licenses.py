"""May these weights be redistributed? The license of what they were made from decides, and it travels with them.

A converter notes the license of its source as `source_license` in `config.json` (a Hub license id, or "none" where the
source has no license). Weights without the field are the user's own, and nothing is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hf_zsar.processing.text_files import read_json


FIELD = "source_license"

# Hub ids of licenses that let anybody redistribute the weights, for any use.
FREE = frozenset(
    "afl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc-by-2.0 cc-by-3.0 "
    "cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 epl-2.0 "
    "gpl gpl-2.0 gpl-3.0 agpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc mit mpl-2.0 odc-by odbl openmdw-1.0 pddl unlicense wtfpl "
    "zlib ecl-2.0 ms-pl ncsa osl-3.0 postgresql".split()
)


class LicenseError(RuntimeError):
    """Weights whose source license does not allow redistribution."""


def source_licenses(folder: Path) -> list[str]:
    """Every `source_license` noted in a model folder: in `config.json` and in the header of each safetensors file."""
    notes: list[object] = []
    config = folder / "config.json"
    if config.is_file():
        content = read_json(config)
        notes.append(content.get(FIELD) if isinstance(content, dict) else None)
    if weights := sorted(folder.glob("*.safetensors")):
        from hf_zsar.modeling.tensor_files import open_tensors

        for file in weights:
            with open_tensors(file) as opened:
                notes.append((opened.metadata() or {}).get(FIELD))
    return sorted({str(note).strip().lower() for note in notes if note})


def check_redistribution(licenses: Iterable[str]) -> None:
    """Refuse licenses that do not clearly allow redistribution.

    Raises:
        LicenseError: one of them is not on the list of free licenses. "none" and "unknown" are not: without a license
            only the author may redistribute the weights.
    """
    refused = [license for license in licenses if license not in FREE]
    if refused:
        raise LicenseError(
            f"These weights come from a source under {', '.join(map(repr, refused))}, which does not allow "
            "redistribution. If you hold the right, say so: allow_restricted=True (hf-zsar push --allow-restricted)."
        )
