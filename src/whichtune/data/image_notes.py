"""What is worth a line about the images of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from whichtune.data.examples import Example

NO_NEAR_COPIES = "copies of images are counted byte for byte; images that are nearly alike are not looked for"


def note_images(splits: Mapping[str, Sequence[Example]]) -> Iterator[str]:
    """Say how many images there are where rows share them, which are asked about in two splits, what is not counted.

    A question about an image that training knows is easier: its answers tell of the image.
    """
    shown = {name: {one.image.sha256 for one in rows if one.image is not None} for name, rows in splits.items()}
    if not any(shown.values()):
        return
    if any(one.text for rows in splits.values() for one in rows):
        counts = ", ".join(f"{len(images):,} {name}" for name, images in shown.items())
        yield f"images: {counts}"
        for early, late in (("train", "validation"), ("train", "test"), ("validation", "test")):
            shared = len(shown[early] & shown[late])
            if shared:
                told = f"{shared:,} of {len(shown[late]):,} {late} images stand in {early} too"
                yield f"{told}: answers about one tell of the other"
    yield NO_NEAR_COPIES
