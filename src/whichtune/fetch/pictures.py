"""Image files: looked at once, when their row is read, and opened again whenever a model needs them.

Files are hostile until shown otherwise: only the formats below are tried (none that runs a program or opens other
files), the size that a header claims is judged before a pixel is decoded, and a path never leads out of its folder.
"""

from __future__ import annotations

import json
import os
import stat
import time
import warnings
from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, get_args

from whichtune.errors import DataError
from whichtune.fetch.atomic import write_text
from whichtune.fetch.cache import cache_root

if TYPE_CHECKING:
    from PIL import Image

Fault = Literal["no-image-file", "not-an-image", "broken-image", "huge-image"]
"""Why a file is no usable image: it cannot be read; it is something else; it does not decode to its end; it claims more
than `MOST_PIXELS`, or is a strip of more than `MOST_RATIO`."""
FAULTS: tuple[Fault, ...] = get_args(Fault)
MOST_PIXELS = 64_000_000
"""Pixels of an image at most (64 megapixels, 192 MB once decoded); judged by its header."""
MOST_RATIO = 100
"""Longer side over the shorter one at most: where a model wants a shorter side of hundreds of pixels, a strip of
a few bytes would take gigabytes."""
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
"""Formats that are read, as Pillow calls them."""
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm",
)  # fmt: skip
"""Suffixes by which a file in a folder is taken for an image."""
_MARKS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
"""How files of these formats begin: one that does and cannot be read is a broken image, not something else."""
_VERSION = 2
"""Raised when the same file would be judged otherwise."""
_SETTLED_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file that was found usable when its row was read."""

    path: str
    """Absolute path of the file."""
    sha256: str
    """Of the file's bytes: what is computed from an image is kept under it."""


def inspect_picture(path: Path) -> Picture | Fault:
    """Decode an image file in full and return it, or why it is not usable."""
    return inspect_pictures([path])[0]


def inspect_pictures(paths: Sequence[Path]) -> list[Picture | Fault]:
    """Do so for many files; what was seen is kept in the cache, so that a folder is decoded once.

    It is kept a file a folder, under each name with size, inode and both times of change, and with the version of the
    decoder. A file changed within the last seconds is not remembered: clocks of file systems are coarse.
    """
    found: dict[str, Picture | Fault] = {}
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in dict.fromkeys(map(os.path.abspath, paths)):
        folder, name = os.path.split(path)
        by_folder[folder].append(name)
    for folder, names in by_folder.items():
        for name, seen in _inspect_folder(folder, names).items():
            path = os.path.join(folder, name)  # noqa: PTH118 - a Path a file costs as much as the look itself
            found[path] = seen if seen in FAULTS else Picture(path, seen)
    return [found[os.path.abspath(path)] for path in paths]  # noqa: PTH100 - links stay as written


def open_picture(picture: Picture) -> Image.Image:
    """Return an image upright (by its EXIF note) in RGB; of several frames the first.

    Transparent parts show white. Grey values of 16 bits keep their upper eight; wider ones and floats are stretched
    from their least to their largest. A file that is gone, or another one than was inspected, is one error.
    """
    path = Path(picture.path)
    remedy = "put the file back, or run the study again with the images as they are"
    try:
        with path.open("rb") as handle:
            if file_digest(handle, "sha256").hexdigest() != picture.sha256:
                raise DataError(f"the image {path} has changed since its row was read", remedy=remedy)
            handle.seek(0)
            with _opened(handle) as image:
                return to_rgb(image)
    except OSError as error:
        raise DataError(f"the image {path} cannot be read: {error.strerror or error}", remedy=remedy) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image upright in RGB, by the rules of `open_picture`."""
    from PIL import Image, ImageOps

    image.load()
    with suppress(Exception):  # a damaged note about the camera is no reason to lose the image
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _narrow(image)
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        image = Image.alpha_composite(white, clear)
    return image.convert("RGB")


def find_inside(root: Path, name: str) -> Path | None:
    """Return the file a relative (or absolute) name means, or None where it leads out of the root, also by a link."""
    path = root / name
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL
        return path if ".." not in path.parts else None
    return path if inside else None


def keep_picture(content: bytes) -> Path:
    """Write an image's bytes into the cache, under their hash and once; return the file."""
    print_ = sha256(content).hexdigest()
    path = cache_root() / "pictures" / print_[:2] / print_
    with suppress(OSError):
        if path.stat().st_size == len(content):
            return path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{print_}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
    return path


def _inspect_folder(folder: str, names: Iterable[str]) -> dict[str, str]:
    """Return what was seen of each file, a hash or a fault, looking only at those that changed."""
    memo = cache_root() / "inspected" / f"{sha256(os.fsencode(folder)).hexdigest()[:32]}.json"
    known, news = _recall(memo), False
    seen: dict[str, str] = {}
    for name in names:
        path = f"{folder}/{name}"
        state = _state_of(path)
        kept = known.get(name)
        if state is not None and kept is not None and kept[:-1] == state:
            seen[name] = str(kept[-1])
            continue
        seen[name] = _look(path) if state is not None else "no-image-file"
        if state is not None and seen[name] != "no-image-file" and _is_settled(state):
            known[name], news = [*state, seen[name]], True
    if news:
        with suppress(OSError, UnicodeError):
            write_text(memo, json.dumps({"reader": _reader(), "files": known}))
    return seen


def _look(path: str) -> str:
    """Decode a file; return its hash, or what is wrong with it."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Path(path).open("rb") as handle:
            start = handle.read(16)
            handle.seek(0)
            try:
                with _opened(handle) as image:
                    if image.width * image.height > MOST_PIXELS or max(image.size) > MOST_RATIO * min(image.size):
                        return "huge-image"
                    to_rgb(image)
            except (Image.DecompressionBombError, Image.DecompressionBombWarning):
                return "huge-image"
            except UnidentifiedImageError:
                marked = start.startswith(_MARKS) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
                return "broken-image" if marked else "not-an-image"
            except Exception:  # decoders raise nearly anything on damaged bytes
                return "broken-image"
            handle.seek(0)
            return file_digest(handle, "sha256").hexdigest()
    except OSError:
        return "no-image-file"


@contextmanager
def _opened(handle: IO[bytes]) -> Generator[Image.Image]:
    """Open an image without decoding it; a claimed size that Pillow warns of is an error, other warnings are noise."""
    from PIL import Image

    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]  # WebP is an option of Pillow's build
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(handle, formats=formats) as image:
            yield image


def _narrow(image: Image.Image) -> Image.Image:
    """Bring grey values of more than 8 bits to 8."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    values[np.isnan(values)] = 0
    ends = values[np.isfinite(values)]
    low, high = (float(ends.min()), float(ends.max())) if ends.size else (0.0, 0.0)
    values = values.clip(low, high)
    if image.mode != "F" and low >= 0 and high <= 0xFFFF:
        grey = values // 256
    else:
        grey = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return Image.fromarray(grey.round().astype(np.uint8))


def _reader() -> list[Any]:
    """What else decides how a file is judged."""
    from PIL import __version__

    return [_VERSION, MOST_PIXELS, MOST_RATIO, __version__]


def _state_of(path: str) -> list[int] | None:
    """Return what changes when a file does; None where there is none, as for a pipe, which would never end."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path a file costs as much as the look itself
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


def _is_settled(state: Sequence[int]) -> bool:
    return time.time() - max(state[2:]) / 1e9 > _SETTLED_SECONDS


def _recall(memo: Path) -> dict[str, list[Any]]:
    with suppress(OSError, ValueError, AttributeError):
        kept: Mapping[str, Any] = json.loads(memo.read_text(encoding="utf-8"))
        if kept.get("reader") == _reader():
            return dict(kept["files"])
    return {}
