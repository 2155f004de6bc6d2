"""``akidb-embed doctor`` and ``verify``: checks of this machine and of a model."""

import json
from argparse import SUPPRESS, ArgumentParser, Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.kinds import add_reranker_option, confirm_either, note_assumed_kind, wanted_kind
from akidb_embeddings.cli.options import add_adapter_options, add_location_options, add_revision_option, configuration
from akidb_embeddings.cli.output import print_message, shorten, table
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.hub.download import is_model_cached

if TYPE_CHECKING:
    from akidb_embeddings.diagnostics.comparison import Comparison
    from akidb_embeddings.diagnostics.findings import Finding
    from akidb_embeddings.diagnostics.measure import Measurement
    from akidb_embeddings.diagnostics.verify import Verification

_LABEL_WIDTH = 40


def _add_doctor_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--measure", action="store_true", help="also measure speed against plain mlx[cpu]: takes ten seconds or more"
    )
    parser.add_argument("--config", metavar="FILE", help="the configuration to check (default: as for every command)")


def _doctor(options: Namespace) -> int:
    from akidb_embeddings.diagnostics.doctor import examine

    failed = False
    for finding in examine(options.config):
        print(_finding(finding), flush=True)
        failed = failed or finding.status == "fail"
    if options.measure:
        from akidb_embeddings.diagnostics.measure import measure

        print_message("measuring speed; plain mlx[cpu] takes ten seconds or more")
        print(f"\n{_measurement(measure())}")
    return 1 if failed else 0


def _finding(finding: "Finding") -> str:
    status = finding.status.upper() if finding.status == "fail" else finding.status
    line = f"{status:<4}  {finding.name:<13}  {finding.text}"
    return f"{line}\n{' ' * 21}-> {finding.remedy}" if finding.remedy else line


def _measurement(found: "Measurement") -> str:
    lines = [
        f"{found.texts} texts of {found.tokens} tokens",
        f"  akidb-embeddings  {found.seconds:8.2f} s  ({found.texts / found.seconds:.1f} texts per second)",
    ]
    if found.plain is None:
        lines.append(f"  {found.reason}")
    else:
        plain = found.plain
        blas = ", ".join(plain.openblas) or "MLX's own BLAS"
        lines += [
            f"  plain mlx[cpu]    {found.plain_seconds:8.2f} s  ({plain.texts} texts took {plain.seconds:.2f} s, "
            f"scaled by {found.texts / plain.texts:g}; {blas}: {plain.gflops:.1f} GFLOP/s)",
            f"  ratio           {found.ratio:8.1f}    (same weights; vectors differ by at most {plain.difference:.0e})",
        ]
    lines.append(f"one query of {found.query_tokens} tokens\n  median latency    {found.query_seconds * 1e3:8.1f} ms")
    return "\n".join(lines)


def _add_verify_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="the model to check (default: the configured one if it is on this machine, else the bundled one)",
    )
    parser.add_argument(
        "--card",
        metavar="NAME",
        help="compare with the similarities or scores published for this model of `akidb-embed models`, for a folder "
        "or a repository that holds the same model",
    )
    add_reranker_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_revision_option(parser)

    def add(option: str, text: str, **settings: Any) -> None:
        parser.add_argument(option, help=text, default=SUPPRESS, **settings)

    add_adapter_options(add)
    add_location_options(parser)


def _verify(options: Namespace) -> int:
    from akidb_embeddings.diagnostics.verify import verify

    config = _to_verify(options)
    confirm_either(config, options)
    found = verify(
        config.model_name,
        card=options.card,
        kind=wanted_kind(options),
        revision=config.revision,
        adapter=config.adapter,
        adapter_revision=config.adapter_revision,
        cache_dir=config.cache_dir,
        auto_download=config.auto_download,
    )
    if found.is_kind_assumed:
        note_assumed_kind(config.model_name)
    print(json.dumps(_as_json(found), ensure_ascii=False) if options.json else _verification(found))
    return 0 if found.passed else 1


def _to_verify(options: Namespace) -> EmbeddingConfig:
    """The configuration with the named model; else with the configured one or, if that is not here, the bundled one."""
    from akidb_embeddings.registry import BUNDLED

    config, given = configuration(options), vars(options)
    if options.card is not None and "adapter" not in given:  # its numbers are of the model alone
        config = config.with_values(adapter=None, adapter_revision=None)
    if options.model is not None:
        named = {name: given[name] for name in ("revision", "adapter", "adapter_revision") if name in given}
        return EmbeddingConfig.resolve(config, model_name=options.model, **named)
    model = config.model_name
    if "adapter" in given or is_model_cached(model, revision=config.revision, cache_dir=config.cache_dir):
        return config
    print_message(f"{model} is not on this machine; verifying the bundled {BUNDLED}")
    return config.with_values(model_name=BUNDLED, revision=None, adapter=None, adapter_revision=None)


def _verification(found: "Verification") -> str:
    weights = f"{found.bits} bits" if found.bits else "not quantized"
    lines = [f"{found.name} ({weights})"]
    width = max(len(check.name) for check in found.checks)
    lines += [f"{'ok' if check.passed else 'FAIL':<4}  {check.name:<{width}}  {check.text}" for check in found.checks]
    failed = sum(not check.passed for check in found.checks)
    lines.append(
        f"{failed} of {len(found.checks)} checks FAILED" if failed else f"all {len(found.checks)} checks passed"
    )
    if found.comparison:
        lines += ["", _comparison(found.comparison, found.numbers, weights)]
    elif all(check.passed for check in found.checks if check.name == "finite"):
        own = "vectors" if found.kind == "embedding" else "scores"
        lines.append(f"no {found.numbers} are published for it: the {own} could not be compared with the authors' own")
    return "\n".join(lines)


def _comparison(found: "Comparison", numbers: str, weights: str) -> str:
    rows = [("PUBLISHED", "OURS", "DIFFERENCE", "QUERY", "DOCUMENT")]
    for query, document, published, ours in found.rows:
        figures = f"{published:9.4f}", f"{ours:.4f}", f"{ours - published:+10.4f}"
        rows.append((*figures, shorten(query, _LABEL_WIDTH), shorten(document, _LABEL_WIDTH)))
    verdict = "reproduced" if found.reproduced else "NOT reproduced"
    order = "" if found.same_order else ", and the documents are in another order"
    return (
        f"{numbers} published in {found.card.source}\n{table(rows)}\n"
        f"{verdict}: the largest difference is {found.largest:.4f}, the tolerance {found.tolerance:.3g} ({weights})"
        f"{order}"
    )


def _as_json(found: "Verification") -> dict[str, Any]:
    published = None
    if found.comparison:
        published = {
            "source": found.comparison.card.source,
            "reproduced": found.comparison.reproduced,
            "same_order": found.comparison.same_order,
            "largest_difference": found.comparison.largest,
            "tolerance": found.comparison.tolerance,
            found.numbers: [
                {"query": query, "document": document, "published": published, "computed": ours}
                for query, document, published, ours in found.comparison.rows
            ],
        }
    checks = [asdict(check) for check in found.checks]
    return {
        "model": found.name,
        "kind": found.kind,
        "bits": found.bits,
        "passed": found.passed,
        "checks": checks,
        "published": published,
    }


DOCTOR = Command(
    "check the machine, the installation, the configuration and one real embedding",
    _add_doctor_arguments,
    _doctor,
    "akidb-embed doctor --measure",
    """\
Exits with 1 if a check fails; warnings do not count. Nothing is downloaded.

--measure runs the bundled model on 32 texts of 128 tokens and on one short query. On a Linux CPU it also runs 4 of the
texts with the same weights on plain MLX, in another process without our BLAS, and scales that time to 32 texts.""",
)
VERIFY = Command(
    "check a model: against its published similarities or scores, and for properties of every model",
    _add_verify_arguments,
    _verify,
    "akidb-embed verify qwen3-0.6b-4bit",
    """\
Works for every model. A text must give the same vector alone, in a padded batch, in any order, on any thread, and
twice. Vectors must be finite, have length 1, and differ where texts differ. Texts beyond the limit must be flagged.
With last-token pooling, the pooled token must be the right one. The same holds for pairs and scores of rerankers.

If similarities are published for the model, prints by how much ours differ. Rounding explains 0.005 for weights that
are not quantized, 0.01 for 8 bits, 0.03 for 6, 0.06 for 5, 0.1 for 4 and fewer. Of a reranker's published scores, it
explains that share of their spread: 0.02, 0.02 for 8 bits, 0.05 for 6, 0.1 for 5, 0.2 for 4 and fewer; and the order
must be the same. Only this comparison shows whether the model is pooled, or its head computed, as it was trained: for a
converted folder, name the model with --card. Numbers are computed as the model was trained, whatever the configuration
says. Exits with 1 if anything fails.""",
)
