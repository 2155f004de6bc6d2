"""What the fixtures must be able to show, asserted: each mistake a port could make has to move the vectors.

Every check prints the number it judged. "cosine" is always the smallest one between the vectors of the fixture and
those of a changed model, over ``PROBES``.
"""

# ruff: noqa: T201 (a script tells what it checked)

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from changes import NO_WINDOW, Change, count_padding, set_window
from oracle import RAW_POOLINGS, Vectors, embed, load, transformer
from sentence_transformers import SentenceTransformer
from texts import COUNTED_LENGTHS, PADDING_TEXTS, TEXTS, counted_text
from tokenizers import Tokenizer

PROBES = [text for text in TEXTS if 0 < len(text) < 1500]


def cosines(left: Vectors, right: Vectors) -> Vectors:
    """Row by row."""
    norms = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
    result: Vectors = (left * right).sum(axis=-1) / norms
    return result


def check_tokenizer(folder: Path, model: SentenceTransformer) -> None:
    """``tokenizer.json`` alone gives the ids that transformers gives, whole and truncated."""
    alone = Tokenizer.from_file(str(folder / "tokenizer.json"))
    alone.no_padding()
    for limit in (None, model.max_seq_length):
        if limit is None:
            alone.no_truncation()
        else:
            alone.enable_truncation(limit)
        for text in TEXTS:
            theirs = model.tokenizer(text)["input_ids"] if limit is None else model.preprocess([text])["input_ids"][0]
            assert alone.encode(text).ids == list(map(int, theirs)), (folder.name, limit, text[:40])


def check_counted_texts(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    added = tokenizer.num_special_tokens_to_add(is_pair=False)
    for length in COUNTED_LENGTHS:
        assert len(tokenizer.encode(counted_text(length)).ids) == length + added, (folder.name, length)


def check_vectors(folder: Path, model: SentenceTransformer, golden: dict[str, Any]) -> None:
    """Finite, of length 1 where the model says so, and as different as the texts are once tokenized and truncated."""
    for name, array in golden.items():
        assert array.dtype.kind != "f" or np.isfinite(array).all(), (folder.name, name)
    vectors = golden["texts"]
    if type(model[-1]).__name__ != "Normalize":
        vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(min=1)
    else:
        assert np.allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5), folder.name
    ids = [tuple(model.preprocess([text])["input_ids"][0].tolist()) for text in TEXTS]
    rows, columns = np.triu_indices(len(TEXTS), 1)
    same = np.array([ids[row] == ids[column] for row, column in zip(rows, columns, strict=True)])
    similar = (vectors @ vectors.T)[rows, columns]
    print(f"{folder.name}: largest cosine of two different texts {similar[~same].max():.6f}")
    assert similar[~same].max() < 0.9999
    assert similar[same].min(initial=1) > 0.99999


def check_poolings(name: str, golden: dict[str, Any]) -> None:
    long_enough = golden["token_counts"] > 2
    for left, right in (("texts_mean", "texts_cls"), ("texts_mean", "texts_last"), ("texts_cls", "texts_last")):
        largest = cosines(golden[left][long_enough], golden[right][long_enough]).max()
        print(f"{name}: largest cosine of {RAW_POOLINGS[left]} and {RAW_POOLINGS[right]} pooling {largest:.4f}")
        assert largest < 0.99


def check_other_vectors(name: str, golden: dict[str, Any], plain: Any) -> None:
    """Another setting moves some vector."""
    smallest = cosines(golden["texts"], plain["texts"]).min()
    print(f"{name}: smallest cosine with the vectors without it {smallest:.6f}")
    assert smallest < 0.999, name


def check_changes(folder: Path, changes: dict[str, Change], limit: float = 0.999) -> None:
    """Each change, made to a freshly loaded model, must bring some text's cosine below ``limit``."""
    for name, change in changes.items():
        before, after = changed_vectors(folder, change)
        smallest = cosines(before, after).min()
        print(f"{folder.name}: cosine with {name} {smallest:.6f}")
        assert smallest < limit, (folder.name, name)


def check_small_change(folder: Path, name: str, change: Change) -> None:
    """A change too small for a cosine: some element moves by 10 times the tolerance that ``README.md`` names."""
    before, after = changed_vectors(folder, change)
    largest = np.abs(before - after).max()
    print(f"{folder.name}: largest difference with {name} {largest:.6f}")
    assert largest > 1e-4, (folder.name, name)


def changed_vectors(folder: Path, change: Change) -> tuple[Vectors, Vectors]:
    """Vectors of ``PROBES`` before and after."""
    model = load(folder)
    before = embed(model.encode, PROBES)
    with torch.no_grad():
        change(transformer(model))
    return before, embed(model.encode, PROBES)


def check_window(folder: Path, *, size: int, behind: int, ahead: int, layer: int = 0) -> None:
    """The window is exactly as wide as documented: in one layer, and at the shortest text that can show it.

    In the given layer alone a changed token at p must reach the positions p - behind … p + ahead and no others; a
    text of ``size`` tokens fits.
    """
    model = load(folder)
    network = transformer(model)
    network.layers = network.layers[layer : layer + 1]
    setting = network.config.sliding_window
    ids = model.preprocess([counted_text(126)])["input_ids"]
    changed = ids.clone()
    position = 64
    changed[0, position] = ids[0, 1]
    with torch.inference_mode():
        before, after = (network(input_ids=tokens).last_hidden_state[0] for tokens in (ids, changed))
    reached = torch.nonzero((before != after).any(dim=-1)).flatten().tolist()
    assert reached == list(range(position - behind, position + ahead + 1)), (folder.name, reached)

    model, wide = load(folder), load(folder)
    set_window(NO_WINDOW)(transformer(wide))
    texts = [counted_text(tokens) for tokens in (size - 2, size - 1)]  # with bos and eos: size and one more
    fitting, longer = cosines(embed(model.encode, texts), embed(wide.encode, texts))
    off_by_one = {f"window {other}": set_window(other) for other in (setting - 1, setting + 1)}
    print(f"{folder.name}: cosine to no window of {size} tokens {fitting:.7f}, of {size + 1} tokens {longer:.6f}")
    assert fitting > 1 - 1e-6
    assert longer < 0.99999
    check_changes(folder, off_by_one, limit=0.9999)


def check_both_ways(folder: Path) -> None:
    """A changed last token reaches the first position."""
    model = load(folder)
    ids = model.preprocess([counted_text(20)])["input_ids"]
    changed = ids.clone()
    changed[0, -1] = ids[0, 0]
    with torch.inference_mode():
        first, other = (transformer(model)(input_ids=tokens).last_hidden_state[0, 0] for tokens in (ids, changed))
    assert (first - other).abs().max() > 0.01, folder.name


def check_padding_texts(folder: Path) -> None:
    """A ``<pad>`` that somebody writes takes no position: counting it moves the vectors of ``PADDING_TEXTS``."""
    model, counting = load(folder), load(folder)
    for text in PADDING_TEXTS:
        assert 1 in model.preprocess([text])["input_ids"], (folder.name, text)
    count_padding(transformer(counting))
    largest = cosines(embed(model.encode, PADDING_TEXTS), embed(counting.encode, PADDING_TEXTS)).max()
    print(f"{folder.name}: largest cosine with positions for <pad> {largest:.6f}")
    assert largest < 0.9999


def check_last_token(folder: Path) -> None:
    """Without the appended ``<|endoftext|>`` every vector is another one."""
    model = load(folder)
    texts = [text for text in PROBES if text]
    rows = []
    for text in texts:
        features = {key: tensor[:, :-1] for key, tensor in model.preprocess([text]).items() if key != "modality"}
        with torch.inference_mode():
            rows.append(model(features)["sentence_embedding"][0].numpy())
    largest = cosines(np.stack(rows), embed(model.encode, texts)).max()
    print(f"{folder.name}: largest cosine without the last token {largest:.4f}")
    assert largest < 0.99


def check_config(folder: Path, name: str) -> None:
    """The config of this name means the same model to transformers, to the last bit."""
    with tempfile.TemporaryDirectory() as parent:
        copy = Path(parent) / folder.name
        shutil.copytree(folder, copy)
        shutil.move(copy / name, copy / "config.json")
        (copy / "config.native.json").unlink(missing_ok=True)
        assert np.array_equal(embed(load(copy).encode, PROBES), embed(load(folder).encode, PROBES)), (folder.name, name)


def check_passage_prompt(folder: Path) -> None:
    """Where a model's document prompt is called ``passage``, ``encode_document`` uses an empty ``document`` instead.

    So says docs/models.md. Once this fails, sentence-transformers agrees with the library, and the warning can go.
    """
    model = SentenceTransformer(str(folder), device="cpu", prompts={"query": "query: ", "passage": "passage: "})
    assert model.prompts == {"query": "query: ", "document": "", "passage": "passage: "}
    documents = model.encode_document(["the river"])
    assert np.array_equal(documents, model.encode(["the river"], prompt=""))
    cosine = cosines(documents, model.encode(["the river"], prompt_name="passage"))[0]
    print(f"{folder.name}: encode_document without the prompt 'passage': cosine {cosine:.4f}")
    assert cosine < 0.99
