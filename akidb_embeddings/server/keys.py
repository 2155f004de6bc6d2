"""API keys: who may ask. Compared in constant time, all of them each time, so that nothing is learnt from the clock."""

import hmac
import os
from collections.abc import Sequence
from pathlib import Path

from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.server.refusal import Kind, Refusal

_VARIABLE = "AKIDB_API_KEYS"
_SCHEME = "bearer "


class Keys:
    """The keys of which a request must bear one; without any, everyone may ask."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    @classmethod
    def read(cls, file: str | None) -> "Keys":
        """The keys of ``file``, one a line, and of the environment. ConfigurationError: it has none or is missing."""
        keys = [key.strip() for key in os.environ.get(_VARIABLE, "").split(",") if key.strip()]
        if file is not None:
            try:
                lines = Path(file).expanduser().read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"api_keys_file: {file} cannot be read: {error}") from error
            found = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
            if not found:
                raise ConfigurationError(f"api_keys_file: {file} has no key in it; give one a line.")
            keys += found
        return cls(keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def check(self, authorization: bytes | None) -> None:
        """Refusal: keys are asked for, and the header ``Authorization: Bearer KEY`` has none of them."""
        if not self._keys:
            return
        header = authorization or b""
        given = header[len(_SCHEME) :].strip() if header[: len(_SCHEME)].lower() == _SCHEME.encode() else b""
        matches = [hmac.compare_digest(given, key) for key in self._keys]
        if not any(matches):
            raise Refusal(Kind.UNAUTHENTICATED, "An API key is wanted: send the header Authorization: Bearer KEY.")
