"""Conversion of a supported Hugging Face checkpoint to MLX's format, quantized or not, in mlx-community's layout.

The result is a folder that ``EmbeddingService`` or ``RerankService`` loads like any other: config.json with a
``quantization`` entry, all weights in model.safetensors (dense layers as ``dense.0.weight``, …), the source's tokenizer
and sentence-transformers files, and settings that only the registry has.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from akidb_embeddings.checkpoint.base import BaseCheckpoint
from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.kinds import read_model
from akidb_embeddings.checkpoint.reranker import RerankerCheckpoint
from akidb_embeddings.conversion.folder_writer import copy_files, write_config, write_json
from akidb_embeddings.conversion.score_settings import write_score_settings
from akidb_embeddings.conversion.tensors import Plan, WrittenTensors, convert_tensors
from akidb_embeddings.conversion.vector_settings import write_vector_settings
from akidb_embeddings.errors import CheckpointError, ConfigurationError
from akidb_embeddings.registry import ModelSpec, RerankerSpec, Spec
from akidb_embeddings.registry.outputs import DENSE

if TYPE_CHECKING:
    from akidb_embeddings.diagnostics.quality import Quality
    from akidb_embeddings.diagnostics.score_quality import ScoreQuality

BITS = (2, 3, 4, 5, 6, 8)
GROUP_SIZES = (32, 64, 128)
DTYPES = ("float32", "float16", "bfloat16")
# The bits of the table of token embeddings in a mixed conversion. The table is gathered, not multiplied, so its size
# costs only memory, and its errors affect all layers.
_TABLE_BITS = 8


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        path: The new folder.
        size_bytes: The size of its weights in bytes.
        quantized: The number of quantized matrices.
        tensors: The number of tensors.
        kept: The number of matrices that were not quantized, because their rows do not divide into groups.
        quality: How much the vectors or scores differ from the source's; None if it was not measured.
    """

    path: Path
    size_bytes: int
    quantized: int
    tensors: int
    kept: int = 0
    quality: "Quality | ScoreQuality | None" = None


def convert(
    source: Path,
    destination: Path,
    *,
    bits: int | None = None,
    group_size: int = 64,
    mixed: bool = False,
    dtype: str | None = None,
    spec: ModelSpec | RerankerSpec | None = None,
    kind: type[Spec] = Spec,
    measure: bool = False,
) -> Conversion:
    """Write the model in ``source`` to the new folder ``destination``. A failed conversion leaves no files.

    Args:
        source: A model folder in Hugging Face's layout, weights in float32, float16 or bfloat16.
        destination: A folder that does not exist yet, or is empty.
        bits: Bits per weight, one of ``BITS``; None for no quantization.
        group_size: Weights per scale, one of ``GROUP_SIZES``.
        mixed: Whether to keep the table of token embeddings at 8 bits, with fewer ``bits`` for the others.
        dtype: The dtype of scales and of weights that are not quantized, one of ``DTYPES``; None for the source's. The
            head of a classifier is written as it is.
        spec: The source's entry in the registry; settings that the source's folder lacks are added to the new one.
        kind: ``RerankerSpec`` or ``ModelSpec``, for a folder that does not say of which kind it is; ``Spec`` for what
            it says, and for vectors where it says nothing.
        measure: Whether to compare the vectors or scores of both models; the destination is written only if both can
            be computed.

    Raises:
        ConfigurationError: ``bits``, ``group_size``, ``mixed``, ``dtype``, ``destination`` or ``measure`` is not
            allowed, or they are not compatible.
        CheckpointError: The source is not a supported model, is already quantized, or has no matrix that can be
            quantized; a weight is not finite, in the source or in ``dtype``; or the destination cannot be written.
        WorkerError: With ``measure``, a model cannot be computed; see ``EmbeddingService``.
    """
    plan = Plan(bits, group_size, _TABLE_BITS if mixed else bits, dtype)
    _check_arguments(destination, plan, mixed)
    checkpoint = read_model(source, spec, kind)
    _check_source(checkpoint, dtype, measure)
    target = Path(os.path.realpath(destination))  # "." and a link cannot be renamed to
    with _staging(destination, target) as staging:
        with _translate_disk_errors(destination):
            written = _write(checkpoint, spec, staging, plan)
        quality = _quality(checkpoint, staging) if measure else None
        with _translate_disk_errors(destination):
            size = (staging / "model.safetensors").stat().st_size
            _move(staging, target)
    return Conversion(destination, size, written.quantized, len(checkpoint.used_tensors), written.kept, quality)


@contextlib.contextmanager
def _staging(destination: Path, target: Path) -> Iterator[Path]:
    """A new empty folder on the file system of ``target``, the real path of ``destination``; removed in the end.

    It is in ``target`` if that exists, which may be a mount point, or in a folder that cannot be written; else beside.
    """
    with _translate_disk_errors(destination):
        holder = target if target.exists() else target.parent
        holder.mkdir(parents=True, exist_ok=True)
        private = tempfile.TemporaryDirectory(prefix="akidb-convert-", dir=holder, ignore_cleanup_errors=True)
    with private as path:
        staging = Path(path, "model")  # with the usual permissions, which the private folder does not have
        with _translate_disk_errors(destination):
            staging.mkdir()
        yield staging


def _move(staging: Path, target: Path) -> None:
    """Move ``staging`` to ``target``, or all its files, or none, to a ``target`` that has nothing but its folder."""
    if not target.exists():
        staging.rename(target)
        return
    if [path for path in target.iterdir() if path != staging.parent]:
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
    tried: list[Path] = []
    try:
        for path in list(staging.iterdir()):
            tried.append(path)
            path.rename(target / path.name)
    except BaseException:
        for path in tried:
            with contextlib.suppress(FileNotFoundError):
                (target / path.name).rename(path)
        raise


@contextlib.contextmanager
def _translate_disk_errors(destination: Path) -> Iterator[None]:
    """Translate errors of the file system."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{destination} cannot be written: {error}. Free some space, or give another folder."
        ) from error


def _quality(source: Checkpoint | RerankerCheckpoint, converted: Path) -> "Quality | ScoreQuality":
    from akidb_embeddings.diagnostics import quality, score_quality
    from akidb_embeddings.diagnostics.stored_weights import changed_matrix, misread_tensor

    is_reranker = isinstance(source, RerankerCheckpoint)
    compare: Callable[[Path, Path], Quality | ScoreQuality] = (score_quality if is_reranker else quality).compare
    result = read_model(converted, kind=RerankerSpec if is_reranker else ModelSpec)
    # Both models are read by the same code, so their vectors agree even if it reads both wrongly.
    if fault := misread_tensor(source) or misread_tensor(result) or changed_matrix(source, result):
        raise CheckpointError(f"The weights of {source.path} were not converted as they are stored. {fault}.")
    return compare(source.path, converted)


def _check_arguments(destination: Path, plan: Plan, mixed: bool) -> None:
    if plan.bits is not None and plan.bits not in BITS:
        raise ConfigurationError(field="bits", reason=f"is {plan.bits}; allowed: {', '.join(map(str, BITS))}.")
    if plan.group_size not in GROUP_SIZES:
        raise ConfigurationError(
            field="group_size", reason=f"is {plan.group_size}; allowed: {', '.join(map(str, GROUP_SIZES))}."
        )
    if plan.dtype is not None and plan.dtype not in DTYPES:
        raise ConfigurationError(field="dtype", reason=f"is {plan.dtype!r}; allowed: {', '.join(DTYPES)}.")
    if mixed and (plan.bits is None or plan.bits >= _TABLE_BITS):
        fewer = ", ".join(str(bits) for bits in BITS if bits < _TABLE_BITS)
        raise ConfigurationError(
            field="mixed",
            reason=f"keeps the table of token embeddings at {_TABLE_BITS} bits while the others have fewer.",
            hint=f"Set {{bits}}, which is {plan.bits}, to one of {fewer}, or leave {{mixed}} out.",
        )
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ConfigurationError(f"{destination} already exists; give a new folder, or remove it first.")


def _check_source(checkpoint: BaseCheckpoint, dtype: str | None, measure: bool) -> None:
    if measure and isinstance(checkpoint, Checkpoint) and DENSE not in checkpoint.outputs:
        raise ConfigurationError(
            f"{checkpoint.path} makes no dense vectors, by which a conversion is judged; convert it without that "
            "comparison (measure=False, --no-quality)."
        )
    if checkpoint.architecture.computed_by:
        raise CheckpointError(
            f"{checkpoint.path} is computed by {checkpoint.architecture.computed_by}: convert it with "
            "mlx_lm.convert, and copy its sentence-transformers files into the result."
        )
    if checkpoint.architecture.is_static:
        raise CheckpointError(
            f"{checkpoint.path} is a static model, a table of which rows are read. It has no products that fewer bits "
            "would make faster: use it as it is."
        )
    if checkpoint.quantization:
        raise CheckpointError(f"{checkpoint.path} is already quantized; convert its full-precision original instead.")
    if dtype == "float16" and not checkpoint.architecture.float16(checkpoint.config):
        raise ConfigurationError(
            field="dtype",
            reason=f"is float16, but activations of {checkpoint.config['model_type']} models overflow it. Give "
            "bfloat16, which takes the same space, or float32.",
        )


def _write(
    checkpoint: Checkpoint | RerankerCheckpoint, spec: ModelSpec | RerankerSpec | None, folder: Path, plan: Plan
) -> WrittenTensors:
    """Write the whole folder. Returns what was written, without the arrays."""
    from akidb_embeddings.compute.runtime import mx

    written = convert_tensors(checkpoint, plan)
    try:
        mx.save_safetensors(str(folder / "model.safetensors"), written.arrays, {"format": "mlx"})
    except RuntimeError as error:  # the arrays are already evaluated, so writing has failed
        is_full = shutil.disk_usage(folder).free < sum(array.nbytes for array in written.arrays.values())
        raise OSError(os.strerror(errno.ENOSPC) if is_full else str(error)) from error
    total = sum(array.nbytes for array in written.arrays.values())
    index = {
        "metadata": {"total_size": total},
        "weight_map": dict.fromkeys(sorted(written.arrays), "model.safetensors"),
    }
    write_json(folder / "model.safetensors.index.json", index)
    quantization = {"group_size": plan.group_size, "bits": plan.bits, **written.overrides} if plan.bits else None
    copy_files(checkpoint, folder)
    if isinstance(checkpoint, RerankerCheckpoint):
        write_score_settings(checkpoint, folder)
        added: dict[str, Any] = {}
    else:
        added = write_vector_settings(checkpoint, spec, folder) if isinstance(spec, ModelSpec) else {}
    write_config(checkpoint, folder, quantization, plan.dtype, added)
    written.arrays.clear()
    mx.clear_cache()
    return written
