"""What a setting may hold, and the words that say so in an error."""

from collections.abc import Callable
from typing import Any, NamedTuple

from akidb_embeddings.errors import ConfigurationError


class Rule(NamedTuple):
    """What one field may hold, and the words that say so in an error."""

    types: type | tuple[type, ...]
    allowed: str
    accepts: Callable[[Any], object] = lambda _: True
    optional: bool = False

    def check(self, name: str, value: object, source: str = "") -> None:
        """Raise ConfigurationError unless the field ``name``, set in the file ``source``, may hold the value."""
        if value is None and self.optional:
            return
        is_stray_bool = isinstance(value, bool) and self.types is not bool  # Python counts True as the integer 1
        if is_stray_bool or not isinstance(value, self.types) or not self.accepts(value):
            allowed = f"{self.allowed}, or None" if self.optional else self.allowed
            raise ConfigurationError(field=name, reason=f"is {value!r}; it must be {allowed}.", source=source)


def choice(*names: str) -> Rule:
    """One of some strings."""
    return Rule(str, "one of " + ", ".join(map(repr, names)), names.__contains__)


BOOLEAN = Rule(bool, "True or False")
COUNT = Rule(int, "an integer of at least 1", lambda value: value >= 1)
