"""The tiny models with sparse weights and with token vectors: random weights in the layouts of the real models."""

from pathlib import Path

import torch
from encoder_tokenizers import write_modernbert_tokenizer
from jsonfile import read_json, write_json
from reranker_tokenizers import write_distilbert_tokenizer
from safetensors.torch import save as to_safetensors
from sentence_transformers import MultiVectorEncoder, SparseEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sparse_encoder.modules import SpladePooling
from tiny_parts import randomize, save
from tiny_tokenizers import write_bert_tokenizer
from tokenizers import AddedToken, Tokenizer
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ModernBertConfig,
    ModernBertModel,
)

SPLADES = ("tiny-splade", "tiny-splade-distilbert")
COLBERTS = ("tiny-colbert", "tiny-multivector")
OUTPUTS = ("tiny-bge-m3", *SPLADES, *COLBERTS)

LIMIT = 128
HIDDEN = 32
QUERY_LENGTH = 24
TOKEN_DIMENSION = 8
STDS = {
    "word_embeddings": 1.0,
    "tok_embeddings": 1.0,
    "position_embeddings": 0.7,
    "token_type_embeddings": 0.5,
    "query": 0.5,
    "key": 0.5,
    "q_lin": 0.5,
    "k_lin": 0.5,
    "Wqkv": 0.5,
}


def write_tiny_bge_m3(folder: Path) -> None:
    """The layer that goes with ``tiny-xlm-roberta``, as its authors publish it, and in safetensors."""
    layer = torch.nn.Linear(HIDDEN, 1)
    randomize(layer, seed=61, norm_center=1.0, linear_std=0.3)
    state = {name: tensor.detach().clone() for name, tensor in layer.state_dict().items()}
    torch.save(layer.state_dict(), folder / "sparse_linear.pt")
    (folder / "sparse_linear.safetensors").write_bytes(to_safetensors(state, metadata={"format": "pt"}))


def write_tiny_splade(folder: Path) -> None:
    """BERT's masked language model, tied, in the layout of sentence-transformers 5.0: MLMTransformer, max, relu."""
    tokenizer = write_bert_tokenizer(folder, LIMIT, traps=False)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=HIDDEN,
        max_position_embeddings=LIMIT,
        dtype="float32",
    )
    model = BertForMaskedLM(config)
    randomize(model, seed=62, norm_center=1.0, linear_std=0.25, other_stds=STDS)
    make_sparse(model.cls.predictions.bias, -16)
    model.save_pretrained(folder)
    name = "sentence_transformers.sparse_encoder.models"
    modules = [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")]
    write_json(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"{name}.{kind}"}
            for index, (path, kind) in enumerate(modules)
        ],
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": LIMIT, "do_lower_case": False})
    settings = {"model_type": "SparseEncoder", "prompts": {"query": "", "document": ""}, "similarity_fn_name": "dot"}
    write_json(folder / "config_sentence_transformers.json", settings | {"default_prompt_name": None})
    (folder / "1_SpladePooling").mkdir()
    pooling = {"pooling_strategy": "max", "activation_function": "relu"}
    sizes = {"word_embedding_dimension": tokenizer.get_vocab_size()}
    write_json(folder / "1_SpladePooling" / "config.json", pooling | sizes)


def write_tiny_splade_distilbert(folder: Path) -> None:
    """DistilBERT's, not tied, saved by sentence-transformers 6.2: Transformer, sum, log1p_relu, a query prompt."""
    tokenizer = write_distilbert_tokenizer(folder, LIMIT)
    config = DistilBertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        dim=HIDDEN,
        hidden_dim=HIDDEN,
        n_layers=2,
        n_heads=2,
        max_position_embeddings=LIMIT,
        tie_word_embeddings=False,
        dtype="float32",
    )
    model = DistilBertForMaskedLM(config)
    randomize(model, seed=63, norm_center=1.0, linear_std=0.25, other_stds=STDS)
    make_sparse(model.vocab_projector.bias, -5)
    model.save_pretrained(folder)
    modules = [Transformer(str(folder), transformer_task="fill-mask", max_seq_length=LIMIT)]
    modules.append(SpladePooling("sum", "log1p_relu"))
    encoder = SparseEncoder(modules=modules, device="cpu", prompts={"query": "query: ", "document": ""})
    save_model(encoder, folder)


def make_sparse(bias: torch.Tensor, shift: float) -> None:
    """Most logits become negative, as in trained models."""
    with torch.no_grad():
        bias.copy_(8 * bias + shift)


def write_tiny_colbert(folder: Path) -> None:
    """BERT in PyLate's layout (version 3): ``1_Dense``, markers that are tokens, expansion that is not attended to."""
    tokenizer = write_bert_tokenizer(folder, LIMIT, traps=False)
    add_markers(tokenizer, folder)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=HIDDEN,
        max_position_embeddings=LIMIT,
        dtype="float32",
    )
    model = BertModel(config, add_pooling_layer=False)
    randomize(model, seed=64, norm_center=1.0, linear_std=0.25, other_stds=STDS)
    model.save_pretrained(folder)
    modules = [("", "sentence_transformers.models.Transformer"), ("1_Dense", "pylate.models.Dense.Dense")]
    write_json(
        folder / "modules.json",
        [{"idx": index, "name": str(index), "path": path, "type": kind} for index, (path, kind) in enumerate(modules)],
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 47, "do_lower_case": False})
    settings = {
        "model_type": "ColBERT",
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": "MaxSim",
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": QUERY_LENGTH,
        "document_length": 48,
        "attend_to_expansion_tokens": False,
        "skiplist_words": list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
        "do_query_expansion": True,
    }
    write_json(folder / "config_sentence_transformers.json", settings)
    (folder / "1_Dense").mkdir()
    linear = torch.nn.Linear(HIDDEN, TOKEN_DIMENSION, bias=False)
    randomize(linear, seed=65, norm_center=1.0, linear_std=0.3)
    save(linear.state_dict(prefix="linear."), folder / "1_Dense")
    sizes = {"in_features": HIDDEN, "out_features": TOKEN_DIMENSION, "bias": False, "use_residual": False}
    write_json(folder / "1_Dense" / "config.json", sizes | {"activation_function": IDENTITY})


IDENTITY = "torch.nn.modules.linear.Identity"


def add_markers(tokenizer: Tokenizer, folder: Path) -> None:
    """``[Q] `` and ``[D] `` as PyLate adds them: neither special nor safe from the normalizer."""
    tokenizer.add_tokens([AddedToken(marker, normalized=True, special=False) for marker in ("[Q] ", "[D] ")])
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)


def write_tiny_multivector(folder: Path) -> None:
    """ModernBERT, saved by sentence-transformers 6.2: prompts in words, expansion that is attended to."""
    tokenizer = write_modernbert_tokenizer(folder, LIMIT)
    ids = {name: tokenizer.token_to_id(f"[{name.upper()}]") for name in ("cls", "sep", "pad")}
    config = ModernBertConfig(
        vocab_size=-(-tokenizer.get_vocab_size() // 64) * 64,
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=HIDDEN,
        max_position_embeddings=LIMIT,
        local_attention=64,
        bos_token_id=ids["cls"],
        eos_token_id=ids["sep"],
        pad_token_id=ids["pad"],
        cls_token_id=ids["cls"],
        sep_token_id=ids["sep"],
        dtype="float32",
    )
    model = ModernBertModel(config)
    randomize(model, seed=66, norm_center=1.0, linear_std=0.25, other_stds=STDS)
    model.save_pretrained(folder)
    projection = Dense(
        HIDDEN,
        TOKEN_DIMENSION,
        bias=False,
        activation_function=torch.nn.Identity(),
        module_input_name="token_embeddings",
    )
    randomize(projection, seed=67, norm_center=1.0, linear_std=0.3)
    expansion = {"strategy": "min", "attend": True, "length": 40}
    modules = [
        Transformer(str(folder), max_seq_length=LIMIT, document_length=64, query_expansion=expansion),
        projection,
        MultiVectorMask(skiplist_words=[",", ".", "Ġthe"]),
        Normalize(module_input_name="token_embeddings"),
    ]
    prompts = {"query": "search_query: ", "document": "search_document: "}
    save_model(MultiVectorEncoder(modules=modules, device="cpu", prompts=prompts), folder)


def save_model(model: SparseEncoder | MultiVectorEncoder, folder: Path) -> None:
    """Saved over what is there. The description keeps no versions, and there is no card, so that two runs agree."""
    model.save_pretrained(str(folder), create_model_card=False)
    file = folder / "config_sentence_transformers.json"
    write_json(file, {key: value for key, value in read_json(file).items() if key != "__version__"})


def write_outputs(root: Path) -> None:
    """Write all of them below ``root``."""
    makers = (
        write_tiny_bge_m3,
        write_tiny_splade,
        write_tiny_splade_distilbert,
        write_tiny_colbert,
        write_tiny_multivector,
    )
    for name, write in zip(OUTPUTS, makers, strict=True):
        (root / name).mkdir(parents=True)
        write(root / name)
