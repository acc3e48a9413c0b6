"""A DINOv2 inside an ONNX file: its weights read once, and kept in the cache as a model folder in the hub's layout.

An exporter keeps the names of most tensors. Weights of linear maps lose theirs, since they are stored turned round; the
node that multiplies by one still carries the path of its module. Of the positions, the class row and the patch rows are
stored apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from whichtune.errors import ModelError
from whichtune.fetch.cache import cache_root, fill
from whichtune.fetch.fingerprint import fingerprint_file, fingerprint_texts

FORM = 1
"""Number of the way of converting; a new one makes new entries in the cache."""
FRONT = "backbone."
"""Where the backbone stands in the exported model."""
EMBEDDINGS = "embeddings"
HEAD_WIDTH = 64
"""Width of an attention head in every size of DINOv2 (Oquab et al. 2023), which no tensor shows."""
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
PROCESSOR: Mapping[str, Any] = {
    "image_processor_type": "BitImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    **IMAGENET,
}
"""How images are made for DINOv2: the shorter side to 256, the middle 224 of it."""


def convert_onnx(file: Path) -> Path:
    """Return the folder an ONNX file was converted to, made where it is not there yet."""
    if not file.is_file():
        raise ModelError("ONNX file", value=str(file), allowed="an existing file", remedy="correct the path")
    entry = cache_root() / "converted" / f"{fingerprint_file(file)}-onnx{FORM}"
    return fill(entry, partial(_convert, file))


def fingerprint_onnx(file: Path, kept: int | None) -> str:
    """Hash an ONNX file and how many of its blocks are kept."""
    return fingerprint_texts(["onnx", fingerprint_file(file), str(kept)])


def _convert(file: Path, folder: Path) -> None:
    """Write configuration, weights and processor of a file into an empty folder."""
    from safetensors.torch import save_file

    graph = read_graph(file)
    tensors = read_dinov2(graph)
    if not tensors:
        raise ModelError(f"{file}: holds no tensors below `{FRONT}`", remedy="is this the right file?")
    try:
        config = describe_dinov2(tensors)
    except (KeyError, StopIteration) as error:
        raise ModelError(f"{file}: no DINOv2 below `{FRONT}` ({error!r} is missing)") from error
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(dict(PROCESSOR), indent=2) + "\n", encoding="utf-8")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def read_graph(file: Path) -> Any:
    """Read the graph of an ONNX file with the package `onnx`; nothing of it is run."""
    try:
        import onnx
    except ImportError:
        thing = "reading ONNX files needs the package `onnx`"
        raise ModelError(thing, remedy="run `pip install 'whichtune[vision]'`") from None
    try:
        return onnx.load(str(file)).graph
    except Exception as error:  # the parser raises kinds of its own
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{file}: not an ONNX file ({why})", remedy="fetch the file again") from error


def read_dinov2(graph: Any) -> dict[str, Tensor]:
    """Return the backbone's tensors by the names they are published under.

    The mask token, which no trace of a model shows, is zero.
    """
    stored = {one.name: one for one in graph.initializer}
    found = {name.removeprefix(FRONT): _to_tensor(one) for name, one in stored.items() if name.startswith(FRONT)}
    for path, name in _products(graph, stored):
        found[f"{path}.weight"] = _to_tensor(stored[name]).T.contiguous()
    rows = _positions(graph, stored)
    if rows is not None:
        found[f"{EMBEDDINGS}.position_embeddings"] = rows
        found.setdefault(f"{EMBEDDINGS}.mask_token", torch.zeros(1, rows.shape[2]))
    return found


def _products(graph: Any, stored: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give the module path and the stored matrix of every product with one."""
    for node in graph.node:
        path = node.name.strip("/").replace("/", ".")
        if node.op_type == "MatMul" and path.startswith(FRONT) and node.input[1] in stored:
            yield path.removeprefix(FRONT).rpartition(".")[0], node.input[1]


def _positions(graph: Any, stored: Mapping[str, Any]) -> Tensor | None:
    """Put the row of the class and those of the patches together, which the exporter stores apart."""
    kept = [name for name in stored if name == f"{FRONT}{EMBEDDINGS}.position_embeddings"]
    if kept:
        return _to_tensor(stored[kept[0]])
    parts: list[Tensor] = []
    for node in graph.node:
        inside = node.name.startswith(f"/{FRONT.strip('.')}/{EMBEDDINGS}/")
        if inside and node.op_type in ("Concat", "Reshape"):
            parts += [_to_tensor(stored[name]) for name in node.input if name in stored and not _named(name)]
    rows = sorted((part for part in parts if part.ndim == 3 and part.shape[0] == 1), key=lambda part: part.shape[1])
    return torch.cat(rows, dim=1) if len(rows) == 2 else None


def _named(name: str) -> bool:
    return name.startswith(FRONT)


def _to_tensor(stored: Any) -> Tensor:
    from onnx import numpy_helper

    return torch.from_numpy(numpy_helper.to_array(stored).copy())


def describe_dinov2(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the configuration that a DINOv2's tensors show."""
    hidden, channels, patch, _ = tensors[f"{EMBEDDINGS}.patch_embeddings.projection.weight"].shape
    patches = tensors[f"{EMBEDDINGS}.position_embeddings"].shape[1] - 1
    inner = tensors["encoder.layer.0.mlp.fc1.weight"].shape[0]
    return {
        "architectures": ["Dinov2Model"],
        "model_type": "dinov2",
        "hidden_size": hidden,
        "num_hidden_layers": 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("encoder.layer.")),
        "num_attention_heads": max(1, hidden // HEAD_WIDTH),
        "mlp_ratio": inner // hidden,
        "image_size": round(patches**0.5) * patch,
        "patch_size": patch,
        "num_channels": channels,
    }
