"""The values that a setting may have."""

from collections.abc import Callable
from typing import Any, NamedTuple

from akidb_embeddings.errors import ConfigurationError


class Rule(NamedTuple):
    """The values that one field may have.

    Attributes:
        types: The allowed type or types.
        allowed: The allowed values in words, for the error.
        accepts: Whether a value of an allowed type is allowed.
        optional: Whether None is allowed.
    """

    types: type | tuple[type, ...]
    allowed: str
    accepts: Callable[[Any], object] = lambda _: True
    optional: bool = False

    def check(self, name: str, value: object, source: str = "") -> None:
        """Check the value of a field.

        Args:
            name: The field.
            value: Its value.
            source: The file or environment variable that it was set in; "" for an argument.

        Raises:
            ConfigurationError: The value is not allowed.
        """
        if value is None and self.optional:
            return
        is_stray_bool = isinstance(value, bool) and self.types is not bool  # Python counts True as the integer 1
        if is_stray_bool or not isinstance(value, self.types) or not self.accepts(value):
            allowed = f"{self.allowed}, or None" if self.optional else self.allowed
            raise ConfigurationError(field=name, reason=f"is {value!r}; it must be {allowed}.", source=source)


def choice(*names: str) -> Rule:
    """A rule that allows only these strings."""
    return Rule(str, "one of " + ", ".join(map(repr, names)), names.__contains__)


BOOLEAN = Rule(bool, "True or False")
COUNT = Rule(int, "an integer of at least 1", lambda value: value >= 1)
