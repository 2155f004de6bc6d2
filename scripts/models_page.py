"""Write docs/models.md, the page of known models, from the registry.

Run: ``python scripts/models_page.py``. With ``--check`` it writes nothing, and exits with 1 if the file is not what it
would write.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from akidb_embeddings.checkpoint.settings import describe_lengths
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.registry import MODELS, REFUSED, RERANKERS, ModelSpec, RerankerSpec, Spec
from akidb_embeddings.registry.architectures import ARCHITECTURES

FILE = Path(__file__).parent.parent / "docs" / "models.md"
_HUB = "https://huggingface.co"
_HEADING = """\
# Models

Generated from the registry by `python scripts/models_page.py`; do not edit it. [Choosing a
model](choosing-a-model.md) helps to find one.

Use a name below anywhere a model is expected: `EmbeddingService("bge-small-en-v1.5")`, `akidb-embed --model …`, and
`model_name:` in YAML. [Rerankers](#rerankers) have a table of their own. Any Hugging Face repository or folder with
one of these architectures (config.json's `model_type`) also works: {architectures}.
`bidirectional_qwen3`, `_qwen2`, `_ministral3` and `_lfm2` stand for `qwen3`, `qwen2`, `ministral3` and `lfm2` whose
`is_causal` is false or whose `auto_map` names the authors' class, as `llama_bidirec` does for `llama`, and `jina_bert`
for a `bert` whose `auto_map` names the class JinaBertModel.
Other decoders work through the extra `mlx-lm`, with last-token or mean pooling. [What is read of a model
folder](compatibility.md) lists the files and keys of a model folder that are read.

## What is proven

**✓ means one thing: a test that runs on every change compares vectors with those that sentence-transformers computes
from the same weights**, and requires a cosine of at least 0.99999 in float32. Without ✓, no test does.

| architecture | models | random weights | real weights | `verify` compares |
|---|---|---|---|---|
{proven}

- *Random weights*: small checkpoints in the layout that the authors publish. They prove the computation: tokens,
  layers, masks, positions, pooling, prompts. They do not prove that a published file is what the registry expects.
- transformers has neither JinaBERT nor NomicBERT with experts. Their hidden states are compared with those of
  references of our own, which do what the authors' code does (tests/golden/references.py); tokens and pooling are
  sentence-transformers'.
- NVIDIA's Llama, Voyage AI's Qwen3 and Liquid AI's LFM2 with bidirectional attention are code in their repositories.
  They are compared with transformers' own classes with `is_causal` false; Voyage's last layer is what its files say,
  and LFM2's convolutions are those that public converters of the model describe.
- `bidirectional_qwen2` has no row, since no name in the registry needs it; it is tested as tiny-qwen2-bidirec. [Other
  outputs](outputs.md) have no rows, either: sparse weights of SPLADE and token vectors are compared with
  sentence-transformers' SparseEncoder and MultiVectorEncoder, those of BGE-M3 with FlagEmbedding's formula.
- *Real weights*: the authors' own file. The tests need no network, and only these weights come as a package. We could
  not download the others.
- The bundled model has 8 bits, so its vectors differ from its original's: a test requires a cosine of at least 0.999.
- Models of `model2vec` are compared with what the package model2vec computes.
- Packed weights of 4 and 8 bits are tested with random values alone, in every architecture.
- pplx-embed's vectors are integers. They equal its authors', except that one in a hundred may differ by one.
- Names, revisions, prompts, limits and sizes are from the models' own pages, from mteb's registry of models, and from
  other public code that pins them.

`akidb-embed verify NAME` checks a model on your machine with its real weights: that no vector depends on the batch,
that texts are cut where they must be, that every position counts, that different texts differ. Where the last column
says so, it also compares with similarities that the authors published.
"""
_READING = """\
## How to read the tables

Repositories are downloaded at the revision shown, or from their main branch if there is none.

- *Tokens*: the model's limit. Texts are cut at 512 unless you set `max_tokens`. Static models have none; 65536 is this
  library's.
- *Cut to*: the shorter lengths for which the authors trained the model (`dimensions=`); others need
  `untrained_dimensions=True`. Vectors of nomic-embed-text-v1.5 get a LayerNorm before they are cut, as their authors
  do it, and none at full length, as in sentence-transformers.
- *Published*: `akidb-embed verify` compares with similarities that the authors published. For other models, it only
  runs the checks that need no published numbers.
"""
_RERANKERS = """\
## Rerankers

A reranker reads a query and a document together and gives their score. It has no vectors, so its name is refused where
an embedding model is expected, and the other way round.

- *Tokens*: the model's limit for query and document together.
- *Scores*: what sentence-transformers makes of the model's output, by the authors' own files: the *logits*, or numbers
  from *0 to 1* by a sigmoid.
- *Instruction*: whether the model reads one. Theirs is "{instruction}" unless you give another.
- *Published*: whether the authors published scores for an example.
"""
_REFUSED = """\
These are refused by name:
"""
_PROMPTS = """\
## Prompts

`embed_queries` puts the prompt `query` before each text; `embed_documents` puts the first of `document`, `passage`
and `corpus` that the model has. sentence-transformers 5 and 6 document the same, but add an empty `document` to every
model that they load, so that `encode_document` embeds documents without a prompt. The authors of models with
`passage`, such as nomic-embed-text-v2-moe, published them before there was this entry, and embed documents with
`passage`. So does this library, with a warning. If the folder itself has an empty `document` beside `passage`, as
sentence-transformers 5 and 6 save it, documents get no prompt here and there, also with a warning.
`document_prompt_name: passage` or `document_prompt: ""` decides, without a warning.

The prompts in the registry:
"""
_TOKENIZERS = """\
## Tokenizers that transformers 4 and 5 read differently

transformers 4 reads tokenizer.json, and lets some keys of tokenizer_config.json change parts of it. transformers 5
takes only the vocabulary (and mostly the post-processor) from tokenizer.json, and builds the rest from the tokenizer's
class. Where the files contradict each other, the two may give different tokens. Then **this library follows
tokenizer.json**: it is the file that authors save with the model, that both versions write alike, and that other
libraries read alone. A warning, once per load, names the folder, the key and both meanings:

- `add_bos_token`, `add_eos_token` of Llama's, Gemma's and Cohere's classes: transformers 4 adds the tokens that they
  name, transformers 5 those of tokenizer.json. If the authors' vectors are from transformers 4, write the token into
  tokenizer.json's `post_processor`.
- `add_prefix_space` where the class does not build its own pre-tokenizer of bytes: only transformers 4 applies it.
- a normalizer, pre-tokenizer, post-processor or unknown token that is not the one of the class.
- a class made for another kind of model than tokenizer.json's, such as `BertTokenizer` over SentencePiece. Classes that
  also rewrite the special tokens (Llama, Gemma, Cohere, GPT-NeoX) are then an error.
- a class that this library does not know, for which it reads tokenizer.json as it is.
- tokens which only one version adds, or adds with other flags or ids.

Settings that both versions take from tokenizer_config.json take precedence here too.
"""
# The checkpoints with random weights that the tests compare (tests/data/models), by architecture, and the models that
# they compare with their real weights. tests/scripts/test_models_page.py looks whether they do.
RANDOM = {
    "qwen3": ("tiny-qwen3",),
    "bidirectional_pplx_qwen3": ("tiny-pplx",),
    "bidirectional_qwen3": ("tiny-voyage",),
    "bidirectional_qwen2": ("tiny-qwen2-bidirec",),
    "bidirectional_ministral3": ("tiny-ministral3",),
    "bidirectional_lfm2": ("tiny-lfm2",),
    "llama_bidirec": ("tiny-llama-bidirec",),
    "eurobert": ("tiny-eurobert",),
    "gemma3_text": ("tiny-gemma3", "tiny-gemma3-causal"),
    "bert": ("tiny-bert", "tiny-bert-cls"),
    "xlm-roberta": ("tiny-xlm-roberta",),
    "roberta": ("tiny-roberta",),
    "distilbert": ("tiny-distilbert",),
    "mpnet": ("tiny-mpnet",),
    "modernbert": ("tiny-modernbert", "tiny-mmbert", "tiny-granite"),
    "nomic_bert": ("tiny-nomic-bert", "tiny-nomic-moe"),
    "jina_bert": ("tiny-jina", "tiny-jina-code"),
    "new": ("tiny-gte", "tiny-stella"),
    "gte": ("tiny-arctic",),
    "model2vec": ("tiny-model2vec", "tiny-model2vec-mapped"),
    "static_embedding": ("tiny-static", "tiny-static-folder"),
}
REAL = ("all-minilm-l6-v2",)
_COLUMNS = (
    "| name | size | tokens | dimensions | cut to | licence | weights | pooling | prompts | published | repository |"
)
_RERANKER_COLUMNS = (
    "| reranker | architecture | size | tokens | languages | licence | weights | scores | instruction | published | "
    "repository |"
)


def page() -> str:
    """The whole page."""
    architectures = ", ".join(f"`{name}`" for name in ARCHITECTURES)
    parts = [_HEADING.format(architectures=architectures, proven=_proven()), _READING]
    for name in dict.fromkeys(spec.architecture for spec in MODELS.values()):
        specs = [spec for spec in MODELS.values() if spec.architecture == name]
        rows = "\n".join(map(_row, specs))
        parts.append(f"## {name}\n\n{_columns(_COLUMNS)}\n{rows}\n")
    parts += [_rerankers(), _prompts(), _TOKENIZERS]
    return "\n".join(parts)


def _columns(heading: str) -> str:
    return f"{heading}\n|{'---|' * (heading.count('|') - 1)}"


def _proven() -> str:
    """A row for the models of each architecture that are tested alike, and that ``verify`` compares alike."""
    rows = []
    for architecture, tiny in RANDOM.items():
        names: dict[tuple[str, str], list[str]] = {}
        for spec in MODELS.values():
            if spec.architecture == architecture:
                real = "✓" if spec.name in REAL else "at least 0.999 to its original" if spec.bundled else ""
                compared = "published similarities" if spec.card else ""
                names.setdefault((real, compared), []).append(_named(spec))
        rows += [
            f"| `{architecture}` | {', '.join(some)} | ✓ as {', '.join(tiny)} | {real} | {compared} |"
            for (real, compared), some in names.items()
        ]
    return "\n".join(rows)


def _named(spec: ModelSpec) -> str:
    note = " (**default**)" if spec.name == EmbeddingConfig.model_name else " (bundled)" if spec.bundled else ""
    return f"`{spec.name}`{note}"


def _row(spec: ModelSpec) -> str:
    cells = (
        f"`{spec.name}`",
        _size(spec.size_bytes),
        str(spec.max_tokens or ""),
        str(spec.dimension),
        describe_lengths(spec.matryoshka),
        spec.license,
        spec.weights,
        spec.pooling or "",
        ", ".join(spec.prompts) or "none",
        "yes" if spec.card else "",
        _repository(spec),
    )
    return f"| {' | '.join(cells)} |"


def _rerankers() -> str:
    """The rerankers, and those that are refused."""
    [instruction] = {spec.instruction for spec in RERANKERS.values() if spec.instruction}
    rows = "\n".join(map(_reranker_row, RERANKERS.values()))
    refused = "\n".join(f"- [{repo}]({_HUB}/{repo}): {reason}" for repo, reason in REFUSED.items())
    text = _RERANKERS.format(instruction=instruction)
    return f"{text}\n{_columns(_RERANKER_COLUMNS)}\n{rows}\n\n{_REFUSED}\n{refused}\n"


def _reranker_row(spec: RerankerSpec) -> str:
    cells = (
        f"`{spec.name}`",
        spec.architecture,
        _size(spec.size_bytes),
        str(spec.max_tokens or ""),
        spec.languages,
        spec.license,
        spec.weights,
        spec.scores,
        "yes" if spec.instruction else "",
        "yes" if spec.card else "",
        _repository(spec),
    )
    return f"| {' | '.join(cells)} |"


def _repository(spec: Spec) -> str:
    revision = f" @ `{spec.revision[:8]}`" if spec.revision else ""
    where = "bundled; from " if spec.bundled else ""
    return f"{where}[{spec.repo}]({_HUB}/{spec.repo}){revision}"


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _prompts() -> str:
    """Every different set of prompts, with the models that have it."""
    sets: dict[str, list[str]] = {}
    for spec in MODELS.values():
        if spec.prompts:
            sets.setdefault(json.dumps(dict(spec.prompts), ensure_ascii=False), []).append(spec.name)
    return f"{_PROMPTS}\n" + "\n".join(_prompt_lines(json.loads(text), names) for text, names in sets.items())


def _prompt_lines(prompts: dict[str, str], names: Iterable[str]) -> str:
    lines = [f"- `{name}`: `{json.dumps(text, ensure_ascii=False)}`" for name, text in prompts.items()]
    return f"{', '.join(f'`{name}`' for name in names)}:\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the page of known models.")
    parser.add_argument("file", nargs="?", type=Path, default=FILE)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the file differs")
    options = parser.parse_args()
    text = page()
    if not options.check:
        options.file.write_text(text, encoding="utf-8")
    elif not options.file.is_file() or options.file.read_text(encoding="utf-8") != text:
        sys.exit(f"{options.file} is not what the registry says; run `python scripts/models_page.py`")


if __name__ == "__main__":
    main()
