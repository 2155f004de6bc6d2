"""The adapters' tests, too, keep the bundled model loaded."""

from tests.conftest import minilm as minilm
