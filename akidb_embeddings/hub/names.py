"""Names of models of both kinds: the registry's entry for one, the names near to one that is not known, the errors."""

from collections.abc import Iterator
from difflib import SequenceMatcher

from akidb_embeddings.errors import ConfigurationError, ModelNotFoundError
from akidb_embeddings.registry import BUNDLED, REFUSED, SPECS, AnySpec, RerankerSpec, Spec

_LIST = "`akidb-embed models` lists all models."
_SUGGESTIONS = 3
# Of the characters of both names, the share in common from which one may be meant for the other; difflib's own default.
_NEAR = 0.6
# A part of a name this long, such as "e5", is near to it, however much is missing.
_SHORTEST_PART = 2
# The most characters that errors show of a name, and of one to which near names are looked for: no name is this long.
_LONGEST = 400


def find_spec(name: str) -> Spec | None:
    """The registry's entry for a name or a repository, of either kind."""
    return next((spec for spec in SPECS.values() if name in (spec.name, spec.repo)), None)


def spec_of_kind(name: str, kind: type[AnySpec]) -> AnySpec | None:
    """The registry's entry for a name or a repository, if it has one.

    Args:
        name: The name or repository.
        kind: The kind that is wanted; ``Spec`` for either.

    Raises:
        ConfigurationError: The entry is of the other kind.
    """
    spec = find_spec(name)
    if spec is None or isinstance(spec, kind):
        return spec
    if isinstance(spec, RerankerSpec):
        text = "a reranker: it scores a query and a document together, and gives no vectors. Use RerankService or "
        text += "`akidb-embed rerank` for it."
    else:
        text = "an embedding model: it does not score pairs. Use EmbeddingService or `akidb-embed embed` for it, or "
        text += "choose a reranker."
    raise ConfigurationError(field="model_name", reason=f"is {name!r}, {text} {_LIST}")


def differs_in_case(name: str) -> bool:
    """Whether a name is no name or repository of the registry, but would be one with other capitals."""
    spellings = {one for spec in SPECS.values() for one in (spec.name, spec.repo)}
    return name not in spellings and name.lower() in {one.lower() for one in spellings}


def near_names(name: str) -> list[str]:
    """The registry's names nearest to one that is not known, at most three; capitals do not count.

    If one of them is the bundled model, by another name or with other weights, the bundled model comes first: it needs
    no download.
    """
    scores = {spec.name: _likeness(name.lower(), spec) for spec in SPECS.values()}
    near = [one for one, score in scores.items() if score >= _NEAR]
    near.sort(key=lambda one: (-scores[one], one != BUNDLED))
    near = near[:_SUGGESTIONS]
    if any(BUNDLED in one for one in near):  # the names of its other weights contain its name
        near = [BUNDLED, *(one for one in near if one != BUNDLED)][:_SUGGESTIONS]
    return near


def _likeness(name: str, spec: Spec) -> float:
    """How near a name in lower case is to one of a model's names: at most 1, or between 1 and 2 if it is a part."""
    return max(_ratio(given, known) for given in {name, name.rpartition("/")[2]} for known in _spellings(spec))


def _spellings(spec: Spec) -> Iterator[str]:
    yield spec.name
    yield spec.repo.lower()
    yield spec.repo.rpartition("/")[2].lower()


def _ratio(given: str, known: str) -> float:
    is_part = len(given) >= _SHORTEST_PART and given in known
    return is_part + SequenceMatcher(None, given, known).ratio()


def suggestion(names: list[str], kind: type[Spec] = Spec) -> str:
    """A question with names that may be meant, where a model of a kind is wanted; "" without names."""
    if not names:
        return ""
    shown = [repr(one) + _note(one, kind) for one in names]
    return f"Did you mean {' or '.join(filter(None, [', '.join(shown[:-1]), shown[-1]]))}?"


def _note(name: str, kind: type[Spec]) -> str:
    """What to know of a suggested name."""
    if kind is RerankerSpec and not isinstance(SPECS[name], RerankerSpec):
        return " (an embedding model)"
    if name == BUNDLED:
        return " (bundled, works offline)"
    return " (a reranker)" if isinstance(SPECS[name], RerankerSpec) else ""


def shortened(name: str) -> str:
    """A name or path as errors show it: the beginning of one that is too long, such as a text in its place."""
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}… ({len(name):,} characters)"


def unknown_model_error(name: str, kind: type[Spec] = Spec) -> ModelNotFoundError:
    """The error for a name that is neither known nor a repository, with the nearest names of the wanted kind."""
    parts = [
        f"Unknown model {shortened(name)!r}.",
        _spelled_otherwise(name) or suggestion(near_names(name) if len(name) <= _LONGEST else [], kind),
        _LIST,
        "A Hugging Face repository ('org/name') or a folder ('./my-model') works too.",
    ]
    return ModelNotFoundError(" ".join(filter(None, parts)))


def _spelled_otherwise(name: str) -> str:
    """How a repository's name is spelled that was given with other capitals; "" if that is not the fault."""
    repo = next((spec.repo for spec in SPECS.values() if name.lower() == spec.repo.lower()), None)
    if repo is None:
        return ""
    near = suggestion([one for one in near_names(name) if SPECS[one].repo == repo])
    return f"Capitals count: the repository is {repo!r}. {near}"


def refusal(name: str) -> ModelNotFoundError | None:
    """The error for a known model that this library cannot compute, by its repository or the last part of it."""
    for repo, reason in REFUSED.items():
        if name.lower() in (repo.lower(), repo.rpartition("/")[2].lower()):
            return ModelNotFoundError(f"{name!r} is not supported: {reason}")
    return None
