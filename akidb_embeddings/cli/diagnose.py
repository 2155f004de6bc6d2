"""``akidb-embed doctor`` and ``verify``: whether this machine computes, how fast, and whether it is right."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.options import add_place_options, add_revision_option, configuration
from akidb_embeddings.cli.output import note, shorten, table
from akidb_embeddings.hub import is_model_cached

if TYPE_CHECKING:
    from akidb_embeddings.doctor import Check
    from akidb_embeddings.measure import Measurement
    from akidb_embeddings.verify import Verification

_LABEL_WIDTH = 40


def _add_doctor_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--measure", action="store_true", help="also measure speed, beside plain mlx[cpu]: takes ten seconds or more"
    )
    parser.add_argument("--config", metavar="FILE", help="the configuration to examine (default: as for every command)")


def _doctor(options: Namespace) -> int:
    from akidb_embeddings.doctor import examine

    failed = False
    for check in examine(options.config):
        print(_check(check), flush=True)
        failed = failed or check.status == "fail"
    if options.measure:
        from akidb_embeddings.measure import measure

        note("measuring speed; plain mlx[cpu] takes ten seconds or more")
        print(f"\n{_measurement(measure())}")
    return 1 if failed else 0


def _check(check: "Check") -> str:
    status = check.status.upper() if check.status == "fail" else check.status
    line = f"{status:<4}  {check.name:<13}  {check.text}"
    return f"{line}\n{' ' * 21}-> {check.remedy}" if check.remedy else line


def _measurement(found: "Measurement") -> str:
    lines = [
        f"{found.texts} texts of {found.tokens} tokens",
        f"  akidb-embeddings  {found.seconds:8.2f} s  ({found.texts / found.seconds:.1f} texts a second)",
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
        "model", nargs="?", metavar="MODEL", help="default: the configured model if it is here, else the bundled one"
    )
    add_revision_option(parser)
    add_place_options(parser)


def _verify(options: Namespace) -> int:
    from akidb_embeddings.registry import BUNDLED
    from akidb_embeddings.verify import verify

    config = configuration(options)
    model, revision = options.model, vars(options).get("revision")
    if model is None:
        model, revision = config.model_name, config.revision
        if not is_model_cached(model, revision=revision, cache_dir=config.cache_dir):
            note(f"{model} is not on this machine; verifying the bundled {BUNDLED}")
            model, revision = BUNDLED, None
    found = verify(model, revision=revision, cache_dir=config.cache_dir, auto_download=config.auto_download)
    print(_verification(found))
    return 0 if found.reproduced else 1


def _verification(found: "Verification") -> str:
    weights = f"{found.bits} bits" if found.bits else "not quantized"
    rows = [("PUBLISHED", "OURS", "DIFFERENCE", "QUERY", "DOCUMENT")]
    for row, query in enumerate(found.card.queries):
        for column, document in enumerate(found.card.documents):
            published, ours, difference = (
                matrix[row, column] for matrix in (found.published, found.computed, found.differences)
            )
            numbers = f"{published:9.4f}", f"{ours:.4f}", f"{difference:+10.4f}"
            rows.append((*numbers, shorten(query, _LABEL_WIDTH), shorten(document, _LABEL_WIDTH)))
    verdict = "reproduced" if found.reproduced else "NOT reproduced"
    return (
        f"{found.name} ({weights}) and what {found.card.source} publishes\n{table(rows)}\n"
        f"{verdict}: the largest difference is {found.largest:.4f}, the tolerance {found.tolerance:g} ({weights})"
    )


DOCTOR = Command(
    "examine machine, installation, configuration and one real embedding",
    _add_doctor_arguments,
    _doctor,
    "akidb-embed doctor --measure",
    """\
Exits with 1 when something is wrong, with 0 when there are warnings only. Nothing is downloaded.

--measure runs the bundled model on 32 texts of 128 tokens and on one short query; on a Linux CPU it also runs 4 of the
texts on plain MLX, in another process without our BLAS, on the same stored weights, and scales that time to 32.""",
)
VERIFY = Command(
    "reproduce the similarities that a model's authors published",
    _add_verify_arguments,
    _verify,
    "akidb-embed verify qwen3-0.6b-4bit",
    """\
Prints by how much ours differ, and exits with 1 when that is more than rounding explains: 0.005 for weights that are
not quantized, 0.01 for 8 bits, 0.03 for 6, 0.06 for 5, 0.1 for 4 and fewer. Computes as the model was trained, whatever
is configured.""",
)
