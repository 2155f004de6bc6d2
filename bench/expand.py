"""A copy of a quantized model in float32, for libraries that do not read weights as MLX packs them."""

import json
import shutil
from pathlib import Path


def expand_folder(source: Path, folder: Path) -> None:
    """Copy a model folder with the weights that its bits stand for. It appears under its name when it is whole.

    Its tensors must have the names that the authors gave them, as those of BERT do.
    """
    from akidb_embeddings.compute.runtime import mx

    staging = folder.with_name(f".making-{folder.name}")
    shutil.copytree(source, staging, ignore=shutil.ignore_patterns("*.safetensors*"))
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    quantization = config.pop("quantization")
    config.pop("quantization_config", None)
    (staging / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with mx.stream(mx.Device(mx.cpu)):
        tensors = mx.load(str(source / "model.safetensors"))
        assert isinstance(tensors, dict)
        expanded = {}
        for name, tensor in tensors.items():
            layer, _, kind = name.rpartition(".")
            if f"{layer}.scales" not in tensors:
                expanded[name] = tensor.astype(mx.float32)
            elif kind == "weight":
                scales, biases = tensors[f"{layer}.scales"], tensors[f"{layer}.biases"]
                size, bits = quantization["group_size"], quantization["bits"]
                expanded[name] = mx.dequantize(tensor, scales, biases, size, bits).astype(mx.float32)
            elif kind == "bias":
                expanded[name] = tensor.astype(mx.float32)
        mx.save_safetensors(str(staging / "model.safetensors"), expanded, {"format": "pt"})
    staging.rename(folder)
