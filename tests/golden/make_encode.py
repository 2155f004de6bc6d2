r"""Write what ``SentenceTransformer`` makes of the calls in ``encode_variants``, and the signatures of its methods.

Run it in the environment of ``make.py``; it reads ``../data/models`` and writes two files in ``../data/golden``::

    oracle/bin/python tests/golden/make_encode.py
"""

import argparse
import inspect
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encode_variants import BASE, CALLS, MODELS, SIMILARITIES, TEXTS, edit_model
from jsonfile import write_json
from oracle import load, versions
from sentence_transformers import SentenceTransformer

DATA = Path(__file__).resolve().parent.parent / "data"


def vectors(name: str, models: Path) -> dict[str, Any]:
    """The arrays of all calls of one model, and its similarities."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(shutil.copytree(models / BASE, Path(parent) / name))
        model = load(edit_model(folder, name))
    arrays = {f"{name}/{call}": getattr(model, method)(TEXTS, **given) for call, (method, given) in CALLS.items()}
    arrays[f"{name}/single"] = model.encode(TEXTS[0])
    arrays[f"{name}/dimension"] = np.array(model.get_embedding_dimension())
    with model.truncate_embeddings(8):
        arrays[f"{name}/context"] = model.encode(TEXTS)
    arrays[f"{name}/own similarity"] = model.similarity(arrays[f"{name}/encode"], arrays[f"{name}/query"]).numpy()
    for similarity in SIMILARITIES:
        model.similarity_fn_name = similarity
        pair = arrays[f"{name}/encode"], arrays[f"{name}/query"]
        arrays[f"{name}/{similarity}"] = model.similarity(*pair).numpy()
        arrays[f"{name}/{similarity} pairwise"] = model.similarity_pairwise(*pair).numpy()
    return arrays


def check(arrays: dict[str, Any]) -> None:
    """Each mistake that a call can be answered with moves its vectors."""
    for name in MODELS:
        kinds = ("prompt_name", "prompt", "no prompt", "query STS", "document")
        for one in kinds:
            for other in kinds:
                same = np.abs(arrays[f"{name}/{one}"] - arrays[f"{name}/{other}"]).max() < 1e-3
                assert same == (one == other), (name, one, other)
    assert np.array_equal(arrays["plain/both"], arrays["plain/prompt"])
    assert not np.allclose(np.linalg.norm(arrays["plain/cut"], axis=1), 1, atol=1e-2)
    assert not np.allclose(np.linalg.norm(arrays["raw/encode"], axis=1), 1, atol=1e-2)
    assert np.allclose(np.linalg.norm(arrays["raw/cut normalized"], axis=1), 1, atol=1e-5)


def signatures() -> dict[str, Any]:
    """The parameters of each public method with their defaults; of a property, "property"."""
    found: dict[str, Any] = {}
    own = [one for one in SentenceTransformer.__mro__ if one.__module__.startswith("sentence_transformers")]
    for name in sorted({name for one in own for name in vars(one) if not name.startswith("_")} | {"__init__"}):
        member = inspect.getattr_static(SentenceTransformer, name)
        if isinstance(member, property):
            found[name] = "property"
        elif callable(getattr(SentenceTransformer, name)):
            parameters = inspect.signature(getattr(SentenceTransformer, name)).parameters.values()
            found[name] = [_parameter(one) for one in parameters if one.name != "self"]
    return found


def _parameter(one: inspect.Parameter) -> list[Any]:
    default = "required" if one.default is inspect.Parameter.empty else json.loads(json.dumps(one.default, default=str))
    return [one.name, one.kind.description, default]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DATA / "golden", help="where the files go")
    output = parser.parse_args().output
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    arrays: dict[str, Any] = {}
    for name in MODELS:
        arrays |= vectors(name, DATA / "models")
    check(arrays)
    arrays["versions"] = np.array(json.dumps(versions()))
    np.savez_compressed(output / "encode-variants.npz", **{key.replace("/", "|"): one for key, one in arrays.items()})
    write_json(output / "encode-signatures.json", signatures())


if __name__ == "__main__":
    main()
