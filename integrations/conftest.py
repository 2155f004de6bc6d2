"""The adapters' tests, too, keep the bundled model loaded, and use no network."""

import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # which Haystack reads when it is imported

from tests.conftest import minilm as minilm
