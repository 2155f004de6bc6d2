"""Another library in a process of its own, under its own interpreter: ``python peer_worker.py``, JSON lines in and out.

It imports nothing of this package, so that it runs where only the peer is installed::

    {"do": "load", "peer": NAME, "model": FOLDER, "max_tokens": 256, "threads": 2}  ->  {"version": …} | {"absent": …}
    {"do": "embed", "texts": […]}                                   ->  {"seconds": …, "vectors": base64 of float32}
    {"do": "score", "pairs": [[…, …], …]}                           ->  {"seconds": …, "vectors": base64 of float32}

``"device": "cuda", "dtype": "bfloat16"`` puts sentence-transformers on a GPU.

``python peer_worker.py export MODEL FOLDER MAX_TOKENS`` writes a BERT as fastembed reads it: ``model.onnx`` and the
tokenizer's files.

An error answers ``{"error": …}``. The clock runs from texts to float32 NumPy vectors, without the pipe.
"""

# mypy: disable-error-code="import-not-found"

import base64
import contextlib
import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Texts in one forward, longest first: what these libraries recommend, and what we have by default; on GPUs, more.
_BATCH, _GPU_BATCH = 32, 128
_ONNX = "model.onnx"


class SentenceTransformers:
    distribution = "sentence-transformers"

    def __init__(self, folder: str, max_tokens: int, threads: int, device: str = "cpu", dtype: str = "float32") -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads)
        self._batch = _BATCH if device == "cpu" else _GPU_BATCH
        self._model = SentenceTransformer(folder, device=device, model_kwargs={"dtype": getattr(torch, dtype)})
        self._model.max_seq_length = max_tokens

    def embed(self, texts: list[str]) -> Any:
        return self._model.encode(
            texts, batch_size=self._batch, convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False
        )


class CrossEncoder:
    """sentence-transformers' class for rerankers; scores are the model's own."""

    distribution = "sentence-transformers"

    def __init__(self, folder: str, max_tokens: int, threads: int, device: str = "cpu", dtype: str = "float32") -> None:
        import sentence_transformers
        import torch

        torch.set_num_threads(threads)
        self._batch = _BATCH if device == "cpu" else _GPU_BATCH
        self._model = sentence_transformers.CrossEncoder(
            folder, device=device, max_length=max_tokens, model_kwargs={"dtype": getattr(torch, dtype)}
        )

    def score(self, pairs: list[list[str]]) -> Any:
        return self._model.predict(pairs, batch_size=self._batch, convert_to_numpy=True, show_progress_bar=False)


class OnnxRuntime:
    """BERT, exported here from the same weights and fused by ONNX Runtime's own optimizer."""

    distribution = "onnxruntime"

    def __init__(self, folder: str, max_tokens: int, threads: int) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        config = json.loads((Path(folder) / "config.json").read_text())
        if config["model_type"] != "bert":
            raise ValueError("the export is written for BERT alone")
        pooling = json.loads((Path(folder) / "1_Pooling" / "config.json").read_text())
        self._mean = bool(pooling.get("pooling_mode_mean_tokens")) or pooling.get("pooling_mode") == "mean"
        with tempfile.TemporaryDirectory() as scratch:
            file = _export_bert(folder, config, Path(scratch))
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.no_padding()

    def embed(self, texts: list[str]) -> Any:
        import numpy as np

        rows = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]
        order = sorted(range(len(rows)), key=lambda index: -len(rows[index]))
        pooled: list[Any] = [None] * len(rows)
        for begin in range(0, len(order), _BATCH):
            batch = order[begin : begin + _BATCH]
            ids = np.zeros((len(batch), len(rows[batch[0]])), dtype=np.int64)
            mask = np.zeros_like(ids)
            for place, index in enumerate(batch):
                ids[place, : len(rows[index])], mask[place, : len(rows[index])] = rows[index], 1
            feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            [hidden] = self._session.run(None, feed)
            means = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True) if self._mean else hidden[:, 0]
            for index, vector in zip(batch, means, strict=True):
                pooled[index] = vector
        vectors = np.stack(pooled).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class FastEmbed:
    """fastembed on weights exported here, unless the folder has them: it reads all-MiniLM-L6-v2 as ONNX alone."""

    distribution = "fastembed"

    def __init__(self, folder: str, max_tokens: int, threads: int) -> None:
        from fastembed import TextEmbedding

        with contextlib.ExitStack() as stack:
            if not (Path(folder) / _ONNX).exists():
                scratch = stack.enter_context(tempfile.TemporaryDirectory())
                _export(folder, scratch, max_tokens)
                folder = scratch
            name = "sentence-transformers/all-MiniLM-L6-v2"  # says how it pools
            self._model = TextEmbedding(name, specific_model_path=folder, threads=threads)

    def embed(self, texts: list[str]) -> Any:
        import numpy as np

        return np.stack(list(self._model.embed(texts, batch_size=_BATCH)))


class Ours:
    """This library, where it is installed like any other."""

    distribution = "akidb-embeddings"

    def __init__(self, folder: str, max_tokens: int, threads: int) -> None:
        from akidb_embeddings import EmbeddingService

        self._service = EmbeddingService(folder, max_tokens=max_tokens)

    def embed(self, texts: list[str]) -> Any:
        return self._service.embed(texts)


def _export(folder: str, target: str, max_tokens: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        config = json.loads((Path(folder) / "config.json").read_text())
        shutil.copy(_export_bert(folder, config, Path(scratch)), Path(target) / _ONNX)
    for name in ("config.json", "tokenizer.json", "special_tokens_map.json"):
        shutil.copy(Path(folder) / name, target)
    settings = json.loads((Path(folder) / "tokenizer_config.json").read_text())
    (Path(target) / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": max_tokens}))


def _export_bert(folder: str, config: dict[str, Any], scratch: Path) -> str:
    import torch
    from onnxruntime.transformers import optimizer
    from transformers import AutoModel

    bert = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

    class Encoder(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return self.bert(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state

    names = ["input_ids", "attention_mask", "token_type_ids"]
    sample = torch.ones(2, 16, dtype=torch.long)
    plain, fused = str(scratch / "plain.onnx"), str(scratch / "fused.onnx")
    torch.onnx.export(
        Encoder(),
        (sample, sample, sample * 0),
        plain,
        input_names=names,
        output_names=["hidden"],
        dynamic_axes={name: {0: "batch", 1: "length"} for name in [*names, "hidden"]},
        opset_version=17,
        dynamo=False,  # the fusions know the graphs of this exporter
    )
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    model = optimizer.optimize_model(plain, model_type="bert", num_heads=heads, hidden_size=hidden)
    model.save_model_to_file(fused)
    return fused


class MlxEmbeddings:
    distribution = "mlx-embeddings"

    def __init__(self, folder: str, max_tokens: int, threads: int) -> None:
        import mlx.core as mx
        from mlx_embeddings import load

        self._model, self._tokenizer = load(folder)
        self._max_tokens = max_tokens
        self._model.set_dtype(mx.float32)

    def embed(self, texts: list[str]) -> Any:
        import mlx.core as mx
        import numpy as np

        tokenizer = getattr(self._tokenizer, "_tokenizer", self._tokenizer)
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        pooled: list[Any] = [None] * len(texts)
        for begin in range(0, len(order), _BATCH):
            batch = order[begin : begin + _BATCH]
            encoded = tokenizer(
                [texts[i] for i in batch],
                padding=True,
                truncation=True,
                max_length=self._max_tokens,
                return_tensors="np",
            )
            ids, mask = (mx.array(encoded[name].astype(np.int32)) for name in ("input_ids", "attention_mask"))
            output = self._model(ids, attention_mask=mask)
            for index, vector in zip(batch, np.array(output.text_embeds.astype(mx.float32)), strict=True):
                pooled[index] = vector
        return np.stack(pooled)


class MlxLm:
    """Plain forwards of mlx-lm's decoder, one text at a time, the last token's state as the vector."""

    distribution = "mlx-lm"

    def __init__(self, folder: str, max_tokens: int, threads: int) -> None:
        import mlx.core as mx
        from mlx_lm.utils import load_model
        from tokenizers import Tokenizer

        self._model = load_model(Path(folder))[0]
        self._model.set_dtype(mx.float32)
        self._tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def embed(self, texts: list[str]) -> Any:
        import mlx.core as mx
        import numpy as np

        vectors = []
        for encoding in self._tokenizer.encode_batch_fast(texts):
            vector = np.array(self._model.model(mx.array([encoding.ids]))[0, -1].astype(mx.float32))
            vectors.append(vector / np.linalg.norm(vector))
        return np.stack(vectors)


_PEERS: dict[str, Any] = {
    peer.distribution: peer for peer in (SentenceTransformers, OnnxRuntime, FastEmbed, MlxEmbeddings, MlxLm, Ours)
} | {"CrossEncoder": CrossEncoder}


_REQUESTS = {"load": "load", "embed": "embed", "score": "score"}


class _Session:
    def __init__(self) -> None:
        self._peer: Any = None

    def load(self, peer: str, model: str, max_tokens: int, threads: int, **place: str) -> dict[str, Any]:
        kind = _PEERS[peer]
        try:
            version = importlib.metadata.version(kind.distribution)
            self._peer = kind(model, max_tokens, threads, **place)
        except (importlib.metadata.PackageNotFoundError, ModuleNotFoundError) as error:
            return {"absent": str(error)}
        return {"version": version}

    def embed(self, texts: list[str]) -> dict[str, Any]:
        return self._timed("embed", texts)

    def score(self, pairs: list[list[str]]) -> dict[str, Any]:
        return self._timed("score", pairs)

    def _timed(self, method: str, inputs: list[Any]) -> dict[str, Any]:
        import numpy as np

        start = time.perf_counter()
        vectors = getattr(self._peer, method)(inputs)
        seconds = time.perf_counter() - start
        packed = base64.b64encode(np.ascontiguousarray(vectors, dtype=np.float32).tobytes()).decode()
        return {"seconds": seconds, "vectors": packed}


def main() -> None:
    # The pipe is for answers only: what libraries print goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    session = _Session()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(session, _REQUESTS[request.pop("do")])(**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its modules are not meant for the peers
    if sys.argv[1:2] == ["export"]:
        _export(sys.argv[2], sys.argv[3], max_tokens=int(sys.argv[4]))
    else:
        main()
