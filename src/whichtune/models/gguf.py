"""GGUF files: dequantized once, and kept in the cache as a model folder in the hub's layout.

The weights are kept in float32, which holds every value that a quantized file stands for; a backbone's `dtype` is
applied when it is loaded.
"""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

import torch

from whichtune.errors import ModelError
from whichtune.fetch.cache import cache_root, fill
from whichtune.fetch.fingerprint import fingerprint_file, fingerprint_texts
from whichtune.models.quiet import silence_libraries

MAGIC = b"GGUF"
FORM = 1
"""Number of the way of converting; a new one makes new entries in the cache."""


def convert_gguf(file: Path) -> Path:
    """Return the folder a GGUF file was converted to, made where it is not there yet."""
    require_gguf(file)
    entry = cache_root() / "converted" / f"{fingerprint_file(file)}-{FORM}"
    return fill(entry, partial(_convert, file))


def fingerprint_gguf(file: Path, kept: int | None) -> str:
    """Hash a GGUF file and how many of its blocks are kept."""
    return fingerprint_texts(["gguf", fingerprint_file(file), str(kept)])


def require_gguf(file: Path) -> None:
    """Raise a `ModelError` unless the file is there and begins as GGUF files do."""
    if not file.is_file():
        raise ModelError("GGUF file", value=str(file), allowed="an existing file", remedy="correct the path")
    with file.open("rb") as handle:
        begun = handle.read(len(MAGIC))
    if begun != MAGIC:
        raise ModelError(f"{file}: not a GGUF file, it begins with {begun!r}", remedy="fetch the file again")


def _convert(file: Path, folder: Path) -> None:
    """Write configuration, weights and tokenizer of a file into an empty folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    try:
        with silence_libraries(), redirect_stderr(io.StringIO()):
            model = AutoModelForCausalLM.from_pretrained(str(file.parent), dtype=torch.float32, **where)
            tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **where)
        require_plain(model)
    except Exception as error:  # the readers raise whatever the first thing they do not know happens to cause
        raise _refuse(file, error) from error
    _save(model, folder)
    tokenizer.save_pretrained(folder)


def require_plain(model: Any) -> None:
    """Raise where the library left weights packed, as it does for some architectures if it can compute on them."""
    packed = [name for name, tensor in model.state_dict().items() if not tensor.is_floating_point()]
    if packed:
        raise NotImplementedError(f"{len(packed)} tensors stay packed, {packed[0]} among them")


def _save(model: Any, folder: Path) -> None:
    """Save a model as if it had never been quantized: the library refuses to, and marks it as such."""
    from safetensors.torch import save_file

    config = model.config.to_dict()
    config.pop("quantization_config", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2, default=str) + "\n", encoding="utf-8")
    tensors = dict(model.state_dict())
    if config.get("tie_word_embeddings"):
        tensors.pop("lm_head.weight", None)
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})


def _refuse(file: Path, error: Exception) -> ModelError:
    """Say what the file holds that cannot be read."""
    why = " ".join(str(error).split())[:200] or type(error).__name__
    if "gguf" in why.lower() and isinstance(error, ImportError):
        return ModelError(f"{file}: reading it needs the package `gguf`", remedy="run `pip install gguf`")
    return ModelError(
        f"{file}: {_describe(file)} cannot be read ({type(error).__name__}: {why})",
        allowed="architectures that `transformers` reads from GGUF, in tensor types that `gguf` can dequantize",
        remedy="take another file of the model, or its folder in the hub's layout",
    )


def _describe(file: Path) -> str:
    """Name the architecture and the tensor types of a file, as far as they can be told."""
    try:
        from gguf import GGUFReader

        reader = GGUFReader(file)
        field = reader.fields.get("general.architecture")
        architecture = "unknown" if field is None else str(field.contents())
        types = sorted({tensor.tensor_type.name for tensor in reader.tensors})
    except Exception:  # a file that is broken enough cannot even be listed
        return "this file"
    return f"architecture `{architecture}` with tensors of type {', '.join(types) or 'none'}"
