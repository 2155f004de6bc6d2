"""What must hold for an adapter: its products are those of its files, and it changes what the model makes.

As in ``stored_weights``, numbers and scalings are read a second time here, by code that shares nothing with the
library's.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.checkpoint.adapter import Adapter, LowRank
from akidb_embeddings.diagnostics.checks import Check, Rows
from akidb_embeddings.diagnostics.output_checks import differences, sparse_rows, token_rows
from akidb_embeddings.diagnostics.sample_texts import DOCUMENTS, QUERIES
from akidb_embeddings.diagnostics.stored_weights import StoredNumbers
from akidb_embeddings.registry.outputs import DENSE, SPARSE
from akidb_embeddings.service.service import EmbeddingService

_TEXTS = (*QUERIES[:4], *DOCUMENTS[:4])
_UNCHANGED = 1e-4  # a difference that rounding explains
_CHANGES = 4  # matrices may be large
_ROUNDING = 1e-5  # of the largest number
_OTHER_PARTS = r"^base_model\.model\.|\.lora_A\.weight$|\.lora_embedding_A$"  # of a tensor's name, besides the module's


def check_effect(service: EmbeddingService) -> Iterator[Check]:
    """Check that the model's adapter, if it has one, changes what texts become; untrained ones do not.

    The model is compared with itself and the same adapter, whose matrices B are zero.

    Args:
        service: A model that has passed ``finite``.

    Yields:
        One result; none without an adapter.
    """
    adapter = service.checkpoint.adapter
    if adapter is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        untrained = _untrained(adapter, Path(folder) / "adapter")
        config = service.config.with_values(adapter=str(untrained), adapter_revision=None)
        with EmbeddingService(config=config) as base:
            found = differences(_rows(service, _TEXTS), _rows(base, _TEXTS))
    most = float(found.max())
    text = f"changes {len(adapter.changes)} matrices, and vectors by up to {most:.1e} of their length"
    yield Check("adapter", most > _UNCHANGED, text, most, _UNCHANGED)


def _rows(service: EmbeddingService, texts: Sequence[str]) -> Rows:
    """What texts become, in the model's first output."""
    output = service.outputs[0]
    if output == DENSE:
        return service.encode(texts, prompt="").vectors
    return sparse_rows(service, texts) if output == SPARSE else token_rows(service, texts)


def _untrained(adapter: Adapter, folder: Path) -> Path:
    """A copy of an adapter that changes nothing."""
    from akidb_embeddings.compute.runtime import mx

    shutil.copytree(adapter.path, folder)
    file = folder / adapter.files[1].name
    tensors: Any = mx.load(str(adapter.files[1]))
    zeros = {key: mx.zeros_like(array) if "lora_B" in key or "lora_embedding_B" in key else array
             for key, array in tensors.items()}  # fmt: skip
    file.unlink()
    mx.save_safetensors(str(file), zeros)
    return folder


def wrong_change(adapter: Adapter) -> str:
    """A matrix that the library would change by another product than the adapter's files say, in words; "" if none."""
    from akidb_embeddings.compute.low_rank import merge
    from akidb_embeddings.compute.runtime import mx

    numbers, settings = StoredNumbers(), json.loads(adapter.files[0].read_text(encoding="utf-8"))
    for change in adapter.changes[:: -(-len(adapter.changes) // _CHANGES)]:
        name = f"{change.layer}.weight"
        tensors = {name: mx.zeros(change.shape)}
        merge(tensors, {}, replace(adapter, changes=(change,)))
        merged = np.array(tensors[name])
        wanted = _product(change, numbers, settings)
        off = np.abs(merged - wanted)
        if off.max() > _ROUNDING * np.abs(wanted).max():
            at = int(off.argmax())
            return (
                f"{change.layer}: the adapter's product has {wanted.reshape(-1)[at]:g} as its number {at}, and "
                f"{merged.reshape(-1)[at]:g} would be added"
            )
    return ""


def _product(change: LowRank, numbers: StoredNumbers, settings: dict[str, Any]) -> NDArray[np.float64]:
    down, up = (
        numbers.read(part, 0, part.shape[0] * part.shape[1]).reshape(part.shape).astype(np.float64)
        for part in (change.down, change.up)
    )
    module = re.sub(_OTHER_PARTS, "", change.down.key)
    rank = _value(settings, "r", "rank_pattern", module)
    alpha = _value(settings, "lora_alpha", "alpha_pattern", module)
    product: NDArray[np.float64] = up @ down * (alpha / (rank**0.5 if settings.get("use_rslora") else rank))
    return product.T if change.transposed else product


def _value(settings: dict[str, Any], key: str, pattern: str, module: str) -> float:
    """A setting of a module: that of the first pattern that its name, or an end of it, matches, else that of all."""
    patterns: dict[str, Any] = settings.get(pattern) or {}
    found = (value for name, value in patterns.items() if re.match(rf"(.*\.)?({name})$", module))
    return float(next(found, settings[key]))
