"""API keys. Each check compares all of them in constant time, so that its duration reveals nothing about them."""

import hmac
import os
from collections.abc import Sequence
from pathlib import Path

from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.server.api_error import ApiError, ErrorKind

_VARIABLE = "AKIDB_API_KEYS"
_SCHEME = "bearer "


class ApiKeys:
    """The accepted API keys. Without any, every request is allowed."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    @classmethod
    def read(cls, file: str | None) -> "ApiKeys":
        """Read the keys in ``file``, one per line, and those in the environment.

        Raises:
            ConfigurationError: The file is missing or has no key.
        """
        keys = [key.strip() for key in os.environ.get(_VARIABLE, "").split(",") if key.strip()]
        if file is not None:
            try:
                lines = Path(file).expanduser().read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(
                    field="api_keys_file", reason=f"is {file}, which cannot be read: {error}"
                ) from error
            found = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
            if not found:
                raise ConfigurationError(
                    field="api_keys_file", reason=f"is {file}, which contains no key; write one per line."
                )
            keys += found
        return cls(keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def check(self, authorization: bytes | None) -> None:
        """Check the header ``Authorization: Bearer KEY``.

        Raises:
            ApiError: A key is required, and the header has none of them.
        """
        if not self._keys:
            return
        header = authorization or b""
        given = header[len(_SCHEME) :].strip() if header[: len(_SCHEME)].lower() == _SCHEME.encode() else b""
        matches = [hmac.compare_digest(given, key) for key in self._keys]
        if not any(matches):
            raise ApiError(
                ErrorKind.UNAUTHENTICATED,
                "An API key is required: send the header Authorization: Bearer KEY."
                if authorization is None
                else "This API key is not accepted. The header is Authorization: Bearer KEY.",
                headers={"www-authenticate": "Bearer"},
            )
