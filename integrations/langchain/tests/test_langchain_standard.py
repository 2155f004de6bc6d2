"""The standard tests of every LangChain integration, whole."""

from pathlib import Path
from typing import Any

import pytest
from langchain_akidb import MLXEmbeddings
from langchain_core.embeddings import Embeddings
from langchain_fixtures import MINILM
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from akidb_embeddings import close_shared_services

teardown_module = close_shared_services


class TestUnit(EmbeddingsUnitTests):
    @pytest.fixture(autouse=True)
    def _write_configuration(self, tmp_path: Path) -> None:
        self.configuration = tmp_path / "embeddings.yaml"
        self.configuration.write_text("embedding:\n  model_name: ./models/mine\n  dimensions: 64\n")

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return MLXEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": MINILM}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        expected = {"model_name": "./models/mine", "model": "./models/mine", "show_progress": True}
        return {"AKIDB_CONFIG": str(self.configuration)}, {"show_progress": True}, expected


class TestIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return MLXEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": MINILM}
