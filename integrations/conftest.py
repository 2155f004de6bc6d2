"""The adapters' tests, too, keep the bundled model loaded."""

from tests.conftest import _one_thread_beside_other_workers as _one_thread_beside_other_workers
from tests.conftest import minilm as minilm
