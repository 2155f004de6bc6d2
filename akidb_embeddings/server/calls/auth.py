"""API keys. Each check compares all of them in constant time, so that its duration reveals nothing about them."""

import hmac
import os
from collections.abc import Sequence
from pathlib import Path

from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.server.calls.api_error import ApiError, ErrorKind

_VARIABLES = {"api_keys_file": "AKIDB_API_KEYS", "admin_keys_file": "AKIDB_ADMIN_KEYS"}
_SCHEME = "bearer "


class ApiKeys:
    """The accepted API keys. Without any, every request is allowed, but no administration.

    Args:
        keys: The keys for requests.
        admin_keys: The keys that may also load and unload models.
    """

    def __init__(self, keys: Sequence[str], admin_keys: Sequence[str] = ()) -> None:
        self._keys = [key.encode() for key in keys]
        self._admin_keys = [key.encode() for key in admin_keys]

    @classmethod
    def read(cls, file: str | None, admin_file: str | None = None) -> "ApiKeys":
        """Read the keys in the files, one per line, and those in the environment.

        Raises:
            ConfigurationError: A file is missing or has no key.
        """
        return cls(_read("api_keys_file", file), _read("admin_keys_file", admin_file))

    def __bool__(self) -> bool:
        return bool(self._keys)

    def check(self, authorization: bytes | None) -> None:
        """Check the header ``Authorization: Bearer KEY`` of a request.

        Raises:
            ApiError: A key is required, and the header has none of them.
        """
        if self._keys and not _matches(authorization, [*self._keys, *self._admin_keys]):
            raise _unauthenticated(authorization, "An API key")

    def check_admin(self, authorization: bytes | None) -> None:
        """Check that a request may load and unload models.

        Raises:
            ApiError: There are no keys for that; or the header has no key, or one that may not.
        """
        if not self._admin_keys:
            raise ApiError(
                ErrorKind.FORBIDDEN,
                "This server lets nobody load and unload models. Whoever runs it can: serve --admin-keys-file FILE.",
            )
        if _matches(authorization, self._admin_keys):
            return
        if _matches(authorization, self._keys):
            raise ApiError(ErrorKind.FORBIDDEN, "This API key may not load and unload models; an admin key may.")
        raise _unauthenticated(authorization, "An admin key")


def _read(field: str, file: str | None) -> list[str]:
    """The keys of the setting ``field``: those in the environment, and in the file that it names."""
    keys = [key.strip() for key in os.environ.get(_VARIABLES[field], "").split(",") if key.strip()]
    if file is None:
        return keys
    try:
        lines = Path(file).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(field=field, reason=f"is {file}, which cannot be read: {error}") from error
    found = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not found:
        raise ConfigurationError(field=field, reason=f"is {file}, which contains no key; write one per line.")
    return keys + found


def _matches(authorization: bytes | None, keys: Sequence[bytes]) -> bool:
    header = authorization or b""
    given = header[len(_SCHEME) :].strip() if header[: len(_SCHEME)].lower() == _SCHEME.encode() else b""
    matches = [hmac.compare_digest(given, key) for key in keys]
    return any(matches)


def _unauthenticated(authorization: bytes | None, what: str) -> ApiError:
    message = (
        f"{what} is required: send the header Authorization: Bearer KEY."
        if authorization is None
        else "This API key is not accepted. The header is Authorization: Bearer KEY."
    )
    return ApiError(ErrorKind.UNAUTHENTICATED, message, headers={"www-authenticate": "Bearer"})
