"""The pixels of a picture's file, with the right brightness and the right side up, whatever its kind."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

_BITS, _WHITE_IS_ZERO = 258, (262, 0)  # tags of TIFF: how many bits a pixel has, and that black is the largest number


def read_picture(content: bytes, size: int) -> Tensor:
    """A picture's middle square as red, green and blue, float32 (3, size, size) in [0, 1].

    The shorter side is resized to ``size``, bilinear over all pixels that fall into one. A picture is turned as its
    EXIF orientation says. Transparent parts are shown on white. Of several pictures in a file (GIF, WebP, TIFF) it is
    the first one. Grey pictures of 16 bits, and of floating-point numbers in [0, 1], are read at their full precision.

    Args:
        content: of the file, in any format that Pillow reads.
        size: pixels on a side.

    Raises:
        ValueError: a kind of picture whose brightness is not known.
        Exception: Pillow raises a dozen kinds for a damaged file.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise ValueError("no picture that Pillow reads; convert it to JPEG or PNG") from None
    with image:
        image.load()  # damage shows here
        turned = _upright(image)
        if turned.mode.startswith(("I", "F")):
            turned = Image.fromarray(_levels(image, np.asarray(turned)))
        elif turned.has_transparency_data:
            clear = turned.convert("RGBA")
            turned = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
        else:
            turned = turned.convert("RGB")
        side = min(turned.size)
        left, top = (turned.width - side) / 2, (turned.height - side) / 2
        square = turned.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    pixels = torch.from_numpy(np.array(square))
    if square.mode == "F":
        return pixels.clamp(0, 1).expand(3, size, size).contiguous()  # (3, size, size)
    return pixels.permute(2, 0, 1).contiguous() / 255  # (3, size, size)


def _upright(image: Image.Image) -> Image.Image:
    """The picture as its EXIF orientation says; damaged EXIF data say nothing."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # Pillow raises a dozen kinds for damaged EXIF data; the pixels are good
        return image


def _levels(image: Image.Image, pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Grey levels in [0, 1], float32, of a picture with other numbers than bytes."""
    levels = pixels.astype(np.float32)
    found = f"from {levels.min():g} to {levels.max():g}"
    tags = getattr(image, "tag_v2", {})
    if image.mode == "F":
        if not (levels.min() >= 0 and levels.max() <= 1):  # nor is it true of NaN
            raise ValueError(
                f"mode F, floating-point numbers, should be in [0, 1], is {found}; divide by the number of white, or "
                "save the picture with 8 or 16 bits"
            )
        return levels
    sixteen = image.mode.startswith("I;16") or image.format in ("PNG", "PPM")
    if not sixteen or tags.get(_WHITE_IS_ZERO[0]) == _WHITE_IS_ZERO[1]:
        raise ValueError(
            f"mode {image.mode} of {image.format}, {found}: it is not known which number is white; save the picture "
            "with 8 or 16 bits, black as 0"
        )
    return levels / np.float32(2 ** int(tags.get(_BITS, (16,))[0]) - 1)
