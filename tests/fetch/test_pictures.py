import io
import os
import struct
import warnings
from hashlib import sha256
from pathlib import Path
from zlib import compress, crc32

import numpy as np
import pytest
from PIL import Image

from whichtune.errors import DataError
from whichtune.fetch import pictures
from whichtune.fetch.pictures import Picture, find_inside, inspect_picture, inspect_pictures, keep_picture, open_picture


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))


def draw(path, size=(12, 8), mode="RGB", seed=0, **how):
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).convert(mode).save(path, **how)
    return path


def claim(width, height):
    """A PNG whose header claims a size that its few bytes do not hold."""
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", compress(b"\0" * 9)))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".tiff", ".webp", ".ppm"])
def test_every_format_is_a_picture_with_the_hash_of_its_bytes(tmp_path, suffix):
    path = draw(tmp_path / f"ünï 猫{suffix}")
    assert inspect_picture(path) == Picture(str(path), sha256(path.read_bytes()).hexdigest())


def test_what_is_no_usable_image_says_why(tmp_path):
    whole = {name: draw(tmp_path / f"whole{name}", (64, 64)).read_bytes() for name in (".png", ".jpg", ".gif", ".webp")}
    contents = {
        "empty.png": b"",
        "text.png": b"no image at all",
        "page.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "program.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "mark.png": whole[".png"][:8],
        **{f"half{name}": content[: len(content) // 2] for name, content in whole.items()},
        "bomb.png": claim(60_000, 60_000),
        "large.png": claim(8001, 8000),
        "lying.png": claim(100, 100),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    found = {name: inspect_picture(tmp_path / name) for name in contents}
    assert found == {
        "empty.png": "not-an-image",
        "text.png": "not-an-image",
        "page.svg": "not-an-image",
        "program.eps": "not-an-image",
        "mark.png": "broken-image",
        **{f"half{name}": "broken-image" for name in whole},
        "bomb.png": "huge-image",
        "large.png": "huge-image",
        "lying.png": "broken-image",
    }
    assert inspect_pictures([tmp_path / "missing.png", tmp_path]) == ["no-image-file"] * 2


def test_the_greatest_size_is_read_from_the_header_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_PIXELS", 96)
    assert isinstance(inspect_picture(draw(tmp_path / "fits.png", (12, 8))), Picture)
    monkeypatch.setattr(pictures, "to_rgb", lambda image: pytest.fail("decoded"))
    assert inspect_picture(draw(tmp_path / "not.png", (12, 9))) == "huge-image"


def test_a_strip_is_huge_since_models_widen_the_shorter_side(tmp_path, monkeypatch):
    assert isinstance(inspect_picture(draw(tmp_path / "fits.png", (100, 1))), Picture)
    monkeypatch.setattr(pictures, "to_rgb", lambda image: pytest.fail("decoded"))
    for size in ((101, 1), (2, 201)):
        assert inspect_picture(draw(tmp_path / f"{size[0]}.png", size)) == "huge-image"


def test_a_pipe_is_no_file_and_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert inspect_picture(tmp_path / "pipe.png") == "no-image-file"


def test_damaged_bits_are_seen(tmp_path):
    content = bytearray(draw(tmp_path / "a.png", (64, 64)).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(content)
    assert inspect_picture(tmp_path / "a.png") == "broken-image"


def test_a_second_look_decodes_nothing_and_a_change_is_seen(tmp_path, monkeypatch):
    paths = [draw(tmp_path / f"{place}.png", seed=place) for place in range(4)]
    paths.append(tmp_path / "broken.png")
    paths[-1].write_bytes(paths[0].read_bytes()[:60])
    looked = []
    look = pictures._look
    monkeypatch.setattr(pictures, "_look", lambda path: looked.append(path) or look(path))
    first = inspect_pictures(paths)
    assert len(looked) == 5
    inspect_pictures(paths)
    assert len(looked) == 10, "a file of this very moment is not remembered"
    monkeypatch.setattr(pictures, "_SETTLED_SECONDS", -1.0)
    inspect_pictures(paths)
    looked.clear()
    assert inspect_pictures(paths) == first
    assert not looked
    draw(paths[2], seed=9)
    again = inspect_pictures(paths)
    assert looked == [str(paths[2])]
    assert again[2] != first[2]
    monkeypatch.setattr(pictures, "_VERSION", pictures._VERSION + 1)
    inspect_pictures(paths)
    assert len(looked) == 6


def test_a_damaged_memo_is_as_none(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_SETTLED_SECONDS", -1.0)
    path = draw(tmp_path / "a.png")
    first = inspect_picture(path)
    (memo,) = (tmp_path / "cache" / "inspected").iterdir()
    for content in ("", "[]", '{"reader": 1}', "\0"):
        memo.write_text(content)
        assert inspect_picture(path) == first


def test_images_come_upright(tmp_path):
    plain = np.zeros((4, 6, 3), np.uint8)
    plain[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(plain).save(tmp_path / "turned.png", exif=exif)
    image = open_picture(found(tmp_path / "turned.png"))
    assert (image.mode, image.size) == ("RGB", (4, 6))
    assert np.array_equal(np.asarray(image), np.rot90(plain, -1))


def found(path):
    seen = inspect_picture(path)
    assert isinstance(seen, Picture), seen
    return seen


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "LAB"])
def test_every_mode_becomes_rgb_as_pillow_makes_it(tmp_path, mode):
    path = draw(tmp_path / "a.tiff", mode=mode)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(np.asarray(open_picture(found(path))), expected)


def test_wide_grey_values_keep_their_upper_bits(tmp_path):
    values = np.array([[0, 255, 256, 0x7FFF, 0xFFFF]], np.uint16)
    for name in ("a.png", "a.tiff"):
        Image.fromarray(values).save(tmp_path / name)
        pixels = np.asarray(open_picture(found(tmp_path / name)))
        assert pixels[0, :, 0].tolist() == [0, 0, 1, 127, 255]
    Image.fromarray(np.array([[-1.0, 0.0, 1.0, np.nan]], np.float32)).save(tmp_path / "f.tiff")
    assert np.asarray(open_picture(found(tmp_path / "f.tiff")))[0, :, 1].tolist() == [0, 128, 255, 128]
    Image.fromarray(np.array([[-1.0, 0.0, 1.0, np.inf, -np.inf]], np.float32)).save(tmp_path / "i.tiff")
    assert np.asarray(open_picture(found(tmp_path / "i.tiff")))[0, :, 1].tolist() == [0, 128, 255, 255, 0]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(tmp_path, mode):
    clear = Image.new("RGBA", (2, 1), (200, 10, 10, 0))
    clear.putpixel((1, 0), (0, 0, 0, 255))
    clear.convert(mode).save(tmp_path / "a.png")
    pixels = np.asarray(open_picture(found(tmp_path / "a.png")))
    assert pixels[0].tolist() == [[255] * 3, [0] * 3]


def test_of_several_frames_the_first_counts(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert open_picture(found(tmp_path / "a.gif")).getpixel((0, 0)) == (255, 0, 0)


def test_a_file_that_is_gone_or_another_one_is_one_error(tmp_path):
    path = draw(tmp_path / "a.png")
    picture = found(path)
    draw(path, seed=5)
    with pytest.raises(DataError, match=r"a\.png has changed since"):
        open_picture(picture)
    path.unlink()
    with pytest.raises(DataError, match=r"a\.png cannot be read: No such file"):
        open_picture(picture)


def test_nothing_is_said_about_odd_files(tmp_path):
    whole = io.BytesIO()
    Image.new("P", (3, 3)).save(whole, "PNG", transparency=b"\0\x80")
    (tmp_path / "a.png").write_bytes(whole.getvalue())
    (tmp_path / "b.png").write_bytes(claim(9600, 9600))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(inspect_picture(tmp_path / "a.png"), Picture)
        assert inspect_picture(tmp_path / "b.png") == "huge-image"


def test_names_stay_inside_their_folder(tmp_path):
    root, outside = tmp_path / "in", tmp_path / "out"
    (root / "deep").mkdir(parents=True)
    outside.mkdir()
    (outside / "a.png").touch()
    (root / "link.png").symlink_to(outside / "a.png")
    (root / "folder").symlink_to(outside)
    (root / "own.png").symlink_to(root / "deep" / "b.png")
    (root / "loop.png").symlink_to(root / "loop.png")
    for name in ("a.png", "deep/b.png", "deep/../a.png", str(root / "deep" / "c.png"), "own.png", "é/猫.png"):
        assert find_inside(root, name) == root / name
    for name in (
        "../out/a.png",
        "/etc/passwd",
        "link.png",
        "folder/a.png",
        "deep/../../out/a.png",
        "..",
        "../in2/a.png",
    ):
        assert find_inside(root, name) is None, name
    linked = tmp_path / "linked"
    linked.symlink_to(root)
    assert find_inside(linked, "a.png") == linked / "a.png"
    assert inspect_picture(root / "loop.png") == "no-image-file"


def test_bytes_are_kept_once_under_their_hash(tmp_path):
    content = draw(tmp_path / "a.png").read_bytes()
    path = keep_picture(content)
    assert path.read_bytes() == content
    assert path.name == sha256(content).hexdigest()
    before = path.stat().st_mtime_ns
    assert keep_picture(content) == path
    assert path.stat().st_mtime_ns == before
    path.write_bytes(content[:9])
    assert keep_picture(content).read_bytes() == content
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_order_and_paths_come_back_as_they_were_asked_for(tmp_path, monkeypatch):
    for folder in ("b", "a"):
        (tmp_path / folder).mkdir()
        for place in range(3):
            draw(tmp_path / folder / f"{place}.png", seed=place)
    paths = [tmp_path / folder / f"{place}.png" for place in (2, 0, 1) for folder in "ba"]
    assert [one.path for one in inspect_pictures(paths)] == list(map(str, paths))
    monkeypatch.chdir(tmp_path)
    assert inspect_picture(Path("a/0.png")) == inspect_picture(tmp_path / "a" / "0.png")
