"""Three models, memory for two: what loading them in turns costs the requests whose model is loaded."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from akidb_embeddings import EmbeddingConfig, EmbeddingService
from akidb_embeddings.hub.resolve import BUNDLE_ROOT
from akidb_embeddings.pool.opening import expected_bytes
from akidb_embeddings.registry import BUNDLED
from bench.figures import Recorder
from bench.scale import Scale
from bench.serving import serving
from bench.targets import TURNS, TURNS_P95
from bench.turns import TEXTS, ask

for _module in ("fastapi", "uvicorn", "httptools", "orjson"):
    pytest.importorskip(_module, reason="the server's packages are not installed: akidb-embeddings[server]")

_NAMES = ("one", "two", "three")
_UNDISTURBED_SHARE = 1 / 3


def test_models_that_take_turns(record: Recorder, scale: Scale, tmp_path: Path) -> None:
    """The bundled model three times, whichever is measured otherwise: its own loading is what others' cost here."""
    folders = [shutil.copytree(BUNDLE_ROOT / BUNDLED, tmp_path / name) for name in _NAMES]
    flags = [part for folder in folders for part in ("--model", str(folder))]
    with EmbeddingService(BUNDLED) as service:
        expected = service.embed(TEXTS)
    limit = int(2.5 * expected_bytes(EmbeddingConfig(model_name=BUNDLED)))
    seconds = scale.open_loop_seconds
    with serving(tmp_path / "log", *flags[:4]) as address:
        undisturbed = ask(address, _NAMES[:2], _UNDISTURBED_SHARE * seconds, expected)
    with serving(tmp_path / "log", *flags, "--load", "lazy", "--max-memory", str(limit)) as address:
        seen = ask(address, _NAMES, seconds, expected)
    assert not undisturbed.wrong + undisturbed.refused + seen.wrong
    for name, found in (
        ("two models, both loaded", undisturbed.loaded),
        ("three in turns, loaded when asked for", seen.loaded),
        ("three in turns, waited for", seen.waited),
    ):
        record.figure(TURNS, name, "ms", [1e3 * value for value in found])
    ratio = np.percentile(seen.loaded, 95) / np.percentile(undisturbed.loaded, 95)
    asked = len(seen.loaded) + len(seen.waited) + len(seen.refused)
    note = f"{asked} requests, {len(seen.refused)} of them refused"
    record.figure(TURNS, TURNS_P95, "times", [float(ratio)], note)
