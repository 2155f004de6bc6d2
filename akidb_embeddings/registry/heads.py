"""The heads that make scores of hidden states, as data. ``architectures/heads.py`` computes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class HeadSpec:
    """The layers of a head, by the names of their tensors.

    Attributes:
        output: The last layer.
        pooling: What it reads: "cls", "last", or None for what config.json's ``classifier_pooling`` says.
        dense: The layer before; "" for none.
        activation: The activation after that layer.
        norm: The norm after the activation; "" for none.
        dense_bias_key: config.json's key that says whether ``dense`` has a bias; "" if it has one.
        output_bias: Whether ``output`` has a bias.
        skips_padding: Whether the padding token never counts as the last one, wherever it stands.
        settings: Settings of config.json that are implemented with one value alone.
    """

    output: str
    pooling: str | None
    dense: str = ""
    activation: str = "tanh"
    norm: str = ""
    dense_bias_key: str = ""
    output_bias: bool = True
    skips_padding: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MaskedLMSpec:
    """The layers of a masked language model after its encoder, by the names of their tensors.

    Attributes:
        dense: The first layer, with the encoder's activation after it.
        norm: The norm after that.
        decoder: The last layer, whose weights may be the table's.
        biases: The names that its bias may have; the first one found counts, as in transformers.
        table: The table of token embeddings.
    """

    dense: str
    norm: str
    decoder: str
    biases: tuple[str, ...]
    table: str = "embeddings.word_embeddings"

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose tensors they are."""
        return self.dense, self.norm, self.decoder, *(name.rpartition(".")[0] for name in self.biases)


# ``transformers``' ``…ForMaskedLM``, 5.24.
BERT_LM = MaskedLMSpec(
    "cls.predictions.transform.dense",
    "cls.predictions.transform.LayerNorm",
    "cls.predictions.decoder",
    ("cls.predictions.decoder.bias", "cls.predictions.bias"),
)
DISTILBERT_LM = MaskedLMSpec("vocab_transform", "vocab_layer_norm", "vocab_projector", ("vocab_projector.bias",))
# ``transformers``' ``…ForSequenceClassification`` of each architecture, 5.24.
BERT = HeadSpec("classifier", "cls", dense="pooler.dense")
ROBERTA = HeadSpec("classifier.out_proj", "cls", dense="classifier.dense")
DISTILBERT = HeadSpec("classifier", "cls", dense="pre_classifier", activation="relu")
MODERNBERT = HeadSpec(
    "classifier",
    None,
    dense="head.dense",
    activation="gelu",
    norm="head.norm",
    dense_bias_key="classifier_bias",
    settings={"classifier_activation": "gelu"},
)
DECODER = HeadSpec("score", "last", output_bias=False, skips_padding=True)
# A language model's own output layer, of which only the rows of two tokens are used.
ANSWER = HeadSpec("lm_head", "last")
