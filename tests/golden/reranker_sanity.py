"""What the golden scores must be able to show, asserted: each mistake a port could make has to move the logits.

Every check prints the number it judged: the largest difference of two logits, over the pairs it concerns.
"""

# ruff: noqa: T201 (a script tells what it checked)

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from changes import Change
from jsonfile import read_json
from pairs import LONG_PAIRS, PAIRS, Pair
from qwen_recipe import BODY, INSTRUCTION, PREFIX, SUFFIX, QwenReranker, write_published_files
from reranker_heads import ACTIVATIONS, HEADS, POOLINGS, head_mistakes
from reranker_oracle import Arrays, full_ids, ids_of, load
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer

SHORT_PAIRS = [pair for pair in PAIRS if sum(map(len, pair)) < 600 and any(pair)]
LEAST, LEAST_OF_ONE_TOKEN = 0.05, 0.01
"""A mistake moves some logit by more than this: rounding moves them by up to 5e-5."""

Features = dict[str, torch.Tensor]


def features_of(model: CrossEncoder, pair: Pair) -> Features:
    features = model.preprocess([pair])
    return {name: features[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in features}


def logits_of(model: CrossEncoder, features: Features) -> torch.Tensor:
    """[labels]"""
    with torch.inference_mode():
        logits: torch.Tensor = model.transformers_model(**features).logits[0]
    return logits


def check_moves(
    name: str, mistake: str, before: Sequence[torch.Tensor], after: Sequence[torch.Tensor], least: float = LEAST
) -> None:
    moved = (torch.stack(list(before)) - torch.stack(list(after))).abs().amax(-1)
    print(f"{name}: {mistake} moves logits by up to {moved.max():.3f}, half of them by {moved.median():.3f}")
    assert moved.max() > least, (name, mistake)


def check_scores(name: str, golden: Arrays) -> None:
    """Spread out, finite but for the pair of no tokens, and the same for the same pair."""
    logits = golden["logits"]
    empty = golden["token_counts"] == 0
    assert np.isnan(logits[empty]).all(), name
    assert np.isfinite(logits[~empty]).all(), name
    spread = logits[~empty].std(axis=0)
    print(f"{name}: standard deviation of the logits {spread}")
    assert (spread >= 0.5).all(), name
    first = {pair: index for index, pair in reversed(list(enumerate(PAIRS)))}
    same = [first[pair] for pair in PAIRS]
    assert np.array_equal(logits, logits[same], equal_nan=True), name


def check_limit(name: str, golden: Arrays) -> None:
    """Some pair fits exactly, some has one token too many."""
    limit, full = golden["token_counts"].max(), golden["full_token_counts"]
    assert {limit, limit + 1} <= set(full.tolist()), name
    assert np.array_equal(golden["token_counts"], np.minimum(full, limit)), name
    print(f"{name}: {(full > limit).sum()} pairs beyond {limit} tokens, {golden['token_counts'].sum()} tokens in all")


def check_tokenizer(folder: Path, model: CrossEncoder) -> None:
    """``tokenizer.json`` alone gives the ids, and token types, that transformers gives, whole and truncated."""
    alone = Tokenizer.from_file(str(folder / "tokenizer.json"))
    alone.no_padding()
    for truncated in (False, True):
        alone.enable_truncation(model.max_seq_length, strategy="longest_first") if truncated else alone.no_truncation()
        for pair in PAIRS:
            mine = alone.encode(*pair)
            theirs = ids_of(model, pair) if truncated else full_ids(model, pair)
            assert mine.ids == theirs, (folder.name, truncated, pair)
            types = features_of(model, pair).get("token_type_ids") if truncated else None
            assert types is None or mine.type_ids == types[0].tolist(), (folder.name, pair)


def check_inputs(name: str, model: CrossEncoder) -> None:
    """Mistakes made before the model: the sides, what stands between them, their types."""
    right = [logits_of(model, features_of(model, pair)) for pair in SHORT_PAIRS]
    swapped = [logits_of(model, features_of(model, (document, query))) for query, document in SHORT_PAIRS]
    check_moves(name, "swapped sides", right, swapped)
    joined = [logits_of(model, tokenized(model, f"{query} {document}")) for query, document in SHORT_PAIRS]
    check_moves(name, "one text of both sides", right, joined)
    if model.tokenizer.sep_token:
        bare = [tokenized(model, *pair, add_special_tokens=False) for pair in SHORT_PAIRS]
        rows = [row for row, features in enumerate(bare) if features["input_ids"].numel()]
        check_moves(
            name, "no special tokens", [right[row] for row in rows], [logits_of(model, bare[row]) for row in rows]
        )
    if "token_type_ids" in features_of(model, PAIRS[0]):
        for mistake, change in TYPE_MISTAKES.items():
            check_moves(name, mistake, right, list(changed_types(model, change)))


TYPE_MISTAKES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "the query's token type for all": torch.zeros_like,
    "the query's token type for the document and back": lambda types: 1 - types,
}


def changed_types(model: CrossEncoder, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[torch.Tensor]:
    for pair in SHORT_PAIRS:
        features = features_of(model, pair)
        yield logits_of(model, features | {"token_type_ids": change(features["token_type_ids"])})


def tokenized(model: CrossEncoder, *texts: str, **options: Any) -> Features:
    return dict(model.tokenizer(*texts, return_tensors="pt", **options))


def check_truncation(name: str, model: CrossEncoder) -> None:
    """``longest_first``, and with an odd number of tokens the one more for the longer side, or for the document."""
    limit = model.max_seq_length
    room = limit - model.tokenizer.num_special_tokens_to_add(pair=True)
    long = [pair for pair in LONG_PAIRS if len(full_ids(model, pair)) > limit]
    for whole, strategy in enumerate(("only_second", "only_first")):
        pairs = [pair for pair in long if len(pair[whole].split()) < room]
        right = [logits_of(model, features_of(model, pair)) for pair in pairs]
        options: dict[str, Any] = {"truncation": strategy, "max_length": limit}
        wrong = [logits_of(model, tokenized(model, *pair, **options)) for pair in pairs]
        check_moves(name, f"truncation {strategy}", right, wrong)
    both = [pair for pair in long if min(len(text.split()) for text in pair) > room // 2]
    right = [logits_of(model, features_of(model, pair)) for pair in both]
    wrong = [logits_of(model, tokenized(model, *one_word_over(pair, room))) for pair in both]
    check_moves(name, "one token more for the query, one less for the document", right, wrong, LEAST_OF_ONE_TOKEN)


def one_word_over(pair: Pair, room: int) -> Pair:
    """Both sides cut as ``longest_first`` cuts them, but for one word."""
    query, document = (text.split() for text in pair)
    kept = room - room // 2 if len(query) > len(document) else room // 2
    return " ".join(query[: kept + 1]), " ".join(document[: room - kept - 1])


def check_head(name: str, model: CrossEncoder) -> None:
    """The formula of the head gives the model's logits; another pooling or activation does not."""
    network = model.transformers_model
    kind = network.config.model_type
    pooling = POOLINGS[kind if kind != "modernbert" else network.config.classifier_pooling]
    right = [logits_of(model, features_of(model, pair)) for pair in SHORT_PAIRS]
    hidden = [hidden_states(model, pair) for pair in SHORT_PAIRS]
    with torch.inference_mode():
        formula = [HEADS[kind](network, pooling(states), ACTIVATIONS[kind]) for states in hidden]
        difference = (torch.stack(formula) - torch.stack(right)).abs()
        exact = [
            index for index, pair in enumerate(SHORT_PAIRS) if ids_of(model, pair)[-1] != model.tokenizer.pad_token_id
        ]
        assert difference[exact].max() < 1e-5, name
        for mistake, wrong in head_mistakes(network, pooling).items():
            check_moves(name, mistake, right, [wrong(states) for states in hidden])


def hidden_states(model: CrossEncoder, pair: Pair) -> torch.Tensor:
    """[length, hidden]"""
    with torch.inference_mode():
        states: torch.Tensor = model.transformers_model.base_model(**features_of(model, pair)).last_hidden_state[0]
    return states


def check_changes(folder: Path, changes: dict[str, Change]) -> None:
    """Each change, made to a freshly loaded model, moves some logit."""
    for mistake, change in changes.items():
        model = load(folder)
        before = [logits_of(model, features_of(model, pair)) for pair in SHORT_PAIRS]
        with torch.no_grad():
            change(model.transformers_model.base_model)
        check_moves(folder.name, mistake, before, [logits_of(model, features_of(model, pair)) for pair in SHORT_PAIRS])


def check_padding(name: str, model: CrossEncoder) -> None:
    """The last token is the last that is not padding, even if it was written by somebody, and not the last of all."""
    padding = model.tokenizer.pad_token_id
    ids = {pair: ids_of(model, pair) for pair in SHORT_PAIRS}
    pairs = [pair for pair in SHORT_PAIRS if ids[pair][-1] == padding and set(ids[pair]) != {padding}]
    right = [logits_of(model, features_of(model, pair)) for pair in pairs]
    with torch.inference_mode():
        last = [model.transformers_model.score(hidden_states(model, pair)[-1]) for pair in pairs]
    check_moves(name, "the last token by length", right, last)


def check_batches(name: str, model: CrossEncoder, golden: Arrays) -> None:
    """In a batch ``CrossEncoder`` computes the same."""
    rows = [index for index, pair in enumerate(PAIRS) if any(pair)]
    together = model.predict([PAIRS[index] for index in rows], batch_size=16, show_progress_bar=False)
    difference = np.abs(together - golden["scores"][rows]).max()
    print(f"{name}: largest difference of scores in batches of 16 {difference:.7f}")
    assert difference < 2e-5, name


def check_saved_files(folder: Path) -> None:
    """The files are those that ``CrossEncoder.save_pretrained`` writes."""
    with tempfile.TemporaryDirectory() as parent:
        load(folder).save_pretrained(parent)
        for file in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
            written, mine = read_json(Path(parent) / file), read_json(folder / file)
            for settings in (written, mine):
                settings.pop("__version__", None) if isinstance(settings, dict) else None
            assert written == mine, (folder.name, file, written)


def check_published_files(folder: Path, golden: Arrays) -> None:
    """Today's published files mean the card's recipe, token for token, and so does ``tokenizer.json`` alone."""
    model = QwenReranker(folder)
    alone = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with tempfile.TemporaryDirectory() as parent:
        copy = Path(parent) / folder.name
        write_published_files(folder, copy, model.yes, model.no)
        published = load(copy)
        prompt = published.prompts["query"]
        for query, document in PAIRS:
            theirs = published.preprocess([(query, document)], prompt=prompt)["input_ids"][0].tolist()
            assert theirs == model.ids(query, document), (folder.name, query, document)
            body = BODY.format(instruction=INSTRUCTION, query=query, document=document)
            mine = [token for text in (PREFIX, body, SUFFIX) for token in alone.encode(text).ids]
            assert mine == model.ids(query, document, truncate=False), (folder.name, query, document)
    assert np.abs(golden["crossencoder_logits"] - golden["logits"]).max() < 1e-5, folder.name


def check_recipe(folder: Path) -> None:
    """Each part of the recipe counts."""
    model = QwenReranker(folder)

    def scores(ids: Callable[[str, str], list[int]], pairs: list[Pair] = SHORT_PAIRS) -> list[torch.Tensor]:
        rows = [model.no_and_yes(ids(*pair)) for pair in pairs]
        return [(yes - no)[None] for no, yes in rows]

    right = scores(model.ids)
    mistakes: dict[str, Callable[[str, str], list[int]]] = {
        "no prefix": lambda query, document: model.ids(query, document)[len(model.prefix) :],
        "no suffix": lambda query, document: model.ids(query, document)[: -len(model.suffix)],
        "swapped sides": lambda query, document: model.ids(document, query),
        "another instruction": lambda query, document: model.ids(query, document, "Judge"),
        "a pair without the template": lambda query, document: model.tokenizer(f"{query}{document} ")["input_ids"],
    }
    for mistake, ids in mistakes.items():
        check_moves(folder.name, mistake, right, scores(ids))
    long = [pair for pair in LONG_PAIRS if len(model.ids(*pair, truncate=False)) > model.max_length]
    cut = scores(lambda query, document: model.ids(query, document, truncate=False)[: model.max_length], long)
    check_moves(folder.name, "truncating the suffix", scores(model.ids, long), cut)
    if not model.model.config.tie_word_embeddings:
        with torch.no_grad():
            model.model.lm_head.weight.copy_(model.model.model.embed_tokens.weight)
        check_moves(folder.name, "the embeddings as the head", right, scores(model.ids))
