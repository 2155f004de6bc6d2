"""``akidb-embed convert``: a Hugging Face checkpoint to MLX's format."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from akidb_embeddings.checkpoint.kinds import kind_of, read_model
from akidb_embeddings.checkpoint.reranker import RerankerCheckpoint
from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.kinds import add_reranker_option, confirm_either, note_assumed_kind, wanted_kind
from akidb_embeddings.cli.options import add_location_options, add_revision_option, configuration
from akidb_embeddings.cli.output import print_message, shorten, size
from akidb_embeddings.conversion.convert import BITS, DTYPES, GROUP_SIZES, convert
from akidb_embeddings.errors import InputError
from akidb_embeddings.hub.either import resolve_either
from akidb_embeddings.registry import Spec

if TYPE_CHECKING:
    from akidb_embeddings.conversion.convert import Conversion
    from akidb_embeddings.diagnostics.quality import Quality
    from akidb_embeddings.diagnostics.score_quality import ScoreQuality

_GROUP_SIZE = 64
_LABEL_WIDTH = 48


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="a model folder, or a Hugging Face repository to download")
    parser.add_argument("destination", metavar="DEST", type=Path, help="a folder that does not exist yet, or is empty")
    parser.add_argument("--bits", type=int, choices=BITS, help="bits per weight (default: weights are not quantized)")
    parser.add_argument(
        "--group-size", type=int, choices=GROUP_SIZES, help=f"weights that share a scale (default: {_GROUP_SIZE})"
    )
    parser.add_argument("--mixed", action="store_true", help="keep the token embeddings at 8 bits when --bits is lower")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="dtype of tensors that are not quantized, and of scales (default: the source's); heads of rerankers stay",
    )
    parser.add_argument(
        "--no-quality",
        dest="measure",
        action="store_false",
        help="do not compare vectors, or scores, with the source's (default: compare, which loads one model after the "
        "other)",
    )
    add_reranker_option(parser)
    add_revision_option(parser)
    add_location_options(parser)


def _run(options: Namespace) -> int:
    if not options.bits and (options.group_size or options.mixed):
        raise InputError(f"{'--mixed' if options.mixed else '--group-size'} says how to quantize: give --bits too")
    config = configuration(options)
    # The configured revision belongs to the configured model, not to this one.
    revision = vars(options).get("revision")
    config = config.with_values(model_name=options.source, revision=revision, adapter=None, adapter_revision=None)
    confirm_either(config, options)
    files = resolve_either(
        options.source, revision=revision, cache_dir=config.cache_dir, auto_download=config.auto_download
    )
    kind = wanted_kind(options)
    if kind is kind_of(files.path, files.spec) is Spec:
        note_assumed_kind(options.source)
    source = read_model(files.path, files.spec, kind)
    before = sum(file.stat().st_size for file in {location.file for location in source.tensors.values()})
    group_size = options.group_size or _GROUP_SIZE
    if options.measure:
        numbers = "scores" if isinstance(source, RerankerCheckpoint) else "vectors"
        print_message(f"converting, then comparing {numbers}, which takes longer; --no-quality skips the comparison")
    result = convert(
        files.path,
        options.destination,
        bits=options.bits,
        group_size=group_size,
        mixed=options.mixed,
        dtype=options.dtype,
        spec=files.spec,
        kind=kind,
        measure=options.measure,
    )
    print(f"{result.path}: {size(before)} -> {size(result.size_bytes)}, {_describe(result, options, group_size)}")
    if result.quality:
        print(_quality(result.quality))
    return 0


def _describe(result: "Conversion", options: Namespace, group_size: int) -> str:
    parts = [f"{result.quantized} of {result.tensors} tensors quantized"]
    if options.bits:
        parts[0] += f" to {options.bits} bits, group size {group_size}"
    if options.mixed:
        parts.append("token embeddings to 8 bits")
    if result.kept:
        noun = "matrix" if result.kept == 1 else "matrices"
        parts.append(f"{result.kept} {noun} kept, with rows that do not divide into groups of {group_size}")
    if options.dtype:
        parts.append(f"{'the rest' if options.bits else 'all'} in {options.dtype}")
    return ", ".join(parts)


def _quality(quality: "Quality | ScoreQuality") -> str:
    from akidb_embeddings.diagnostics.score_quality import ScoreQuality

    return _of_scores(quality) if isinstance(quality, ScoreQuality) else _of_vectors(quality)


def _of_scores(quality: "ScoreQuality") -> str:
    query, document = (shorten(text, _LABEL_WIDTH // 2) for text in quality.pairs[quality.worst_pair])
    return (
        f"quality: {quality.in_order} of {quality.compared} times two documents are in the order of full precision; "
        f"logits, which have a spread of {quality.spread:.2f}, differ by at most {quality.largest:.2g} "
        f'(pair {quality.worst_pair + 1} of {len(quality.pairs)}: "{query}", "{document}")'
    )


def _of_vectors(quality: "Quality") -> str:
    text = shorten(quality.texts[quality.worst_text], _LABEL_WIDTH)
    line = (
        f"quality: cosine to full precision mean {_cosine(quality.mean)}, worst {_cosine(quality.worst)} "
        f'(text {quality.worst_text + 1} of {len(quality.texts)}: "{text}")'
    )
    return f"{line}; the model does not say how to pool, so {quality.pooling} was used" if quality.assumed else line


def _cosine(value: float) -> str:
    """A cosine with four digits, or with six where four would show 1."""
    return f"{value:.4f}" if value < 0.9995 else f"{value:.6f}"


CONVERT = Command(
    "convert a Hugging Face checkpoint to MLX's format, quantized or not",
    _add_arguments,
    _run,
    "akidb-embed convert BAAI/bge-small-en-v1.5 ./bge-small-8bit --bits 8",
    """\
The result has the layout that mlx-community uses, and loads like any other folder: --model ./bge-small-8bit. Where the
source's folder lacks pooling, prompts or limits that this library knows, they are added to the result.

The last line compares the vectors of source and result for built-in texts: the mean and the lowest cosine. Of a
reranker it compares the order of built-in documents, and the logits before the activation. The head of a classifier
is kept in the source's precision.""",
)
