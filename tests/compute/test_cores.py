"""How many cores there are, and how fast they multiply."""

import pytest

from akidb_embeddings.compute import cores as module


@pytest.mark.parametrize(("value", "cores"), [("1", 1), ("0", None), ("", None), ("many", None), ("99999", None)])
@pytest.mark.parametrize("name", ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"])
def test_the_usual_variables_limit_the_cores(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, cores: int | None
) -> None:
    for each in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(each, raising=False)
    every = module.available_cores()
    monkeypatch.setenv(name, value)
    assert module.available_cores() == (cores or every)


def test_matmul_speed_is_a_speed() -> None:
    assert 0.1 < module.measure_matmul(64) < 1e5
