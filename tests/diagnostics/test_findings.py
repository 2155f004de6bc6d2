"""One cause is one finding."""

import itertools

from akidb_embeddings.diagnostics.findings import Finding, cause_of, once


def raised(*errors: Exception) -> Exception:
    """The last of some errors, each of which was raised from the one before it."""
    for cause, error in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[-1]


def test_the_cause_of_an_error_is_the_first_one_behind_it() -> None:
    first = ImportError("libmlx.so: cannot open")
    assert cause_of(first) == "libmlx.so: cannot open"
    assert cause_of(raised(first, ImportError("MLX cannot be loaded"), RuntimeError("no thread"))) == cause_of(first)
    assert cause_of(ValueError("other")) != cause_of(first)


def test_a_missing_package_is_one_cause_whatever_part_of_it_was_imported() -> None:
    missing = ModuleNotFoundError("No module named 'mlx.core'", name="mlx.core")
    assert cause_of(missing) == cause_of(raised(ModuleNotFoundError("other words", name="mlx"), ImportError())) == "mlx"


def test_findings_of_one_cause_refer_to_the_first() -> None:
    ok = Finding("platform", "ok", "Linux")
    device = Finding("device", "fail", "MLX cannot be imported", "install it", ("mlx",))
    again = Finding("BLAS", "fail", "ImportError: MLX cannot be imported", "", ("mlx",))
    other = Finding("model", "fail", "damaged", "download it", ("damaged",))
    last = Finding("embedding", "fail", "both", "", ("mlx", "damaged"))
    assert list(once([ok, device, again, other, last])) == [
        ok,
        device,
        Finding("BLAS", "warn", "not examined, for the same reason: see device"),
        other,
        Finding("embedding", "warn", "not examined, for the same reason: see device"),
    ]
