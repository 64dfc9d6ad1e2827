"""The brightness of pictures of every kind, the right side up; what has no known brightness is refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from mmtutor.data import Photos

RAMP = np.linspace(0, 255, 64).round().repeat(64).reshape(64, 64).T  # dark to bright, from left to right


def saved(picture, kind="PNG", **options):
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, kind, **options)
    return file.getvalue()


def photo(content, tmp_path, size=64):
    (tmp_path / "x").write_bytes(content)
    return Photos(tmp_path, ["x"], ["a ramp"], size)[0]["photo"]


GREY = {
    "8 bits": saved(RAMP.astype(np.uint8)),
    "16 bits": saved((RAMP * 257).astype(np.uint16)),
    "16 bits, JPEG 2000": saved((RAMP * 257).astype(np.uint16), "JPEG2000"),
    "16 bits, TIFF": saved((RAMP * 257).astype(np.uint16), "TIFF"),
    "16 bits, PGM": b"P5 64 64 65535\n" + (RAMP * 257).astype(">u2").tobytes(),
    "numbers from 0 to 1": saved((RAMP / 255).astype(np.float32), "TIFF"),
    "with alpha": saved(Image.fromarray(RAMP.astype(np.uint8)).convert("LA")),
    "colours with alpha": saved(Image.fromarray(RAMP.astype(np.uint8)).convert("RGBA")),
    "palette": saved(Image.fromarray(RAMP.astype(np.uint8)).convert("P")),
    "CMYK": saved(Image.fromarray(RAMP.astype(np.uint8)).convert("RGB").convert("CMYK"), "TIFF"),
    "GIF": saved(RAMP.astype(np.uint8), "GIF"),
    "WebP": saved(Image.fromarray(RAMP.astype(np.uint8)).convert("RGB"), "WEBP", lossless=True),
    "animated": saved(
        RAMP.astype(np.uint8), "GIF", save_all=True, append_images=[Image.new("L", (64, 64), 9)], duration=9
    ),
}


@pytest.mark.parametrize("kind", GREY)
def test_a_ramp_is_a_ramp(tmp_path, kind):
    got = photo(GREY[kind], tmp_path)
    wanted = torch.from_numpy(RAMP / 255).float().expand(3, 64, 64)
    assert got.dtype == torch.float32
    assert got.is_contiguous()
    assert (got - wanted).abs().max() < 0.001
    assert (photo(GREY[kind], tmp_path, 8).mean() - 0.5).abs() < 0.01


def test_dark_pictures_of_16_bits_keep_their_levels(tmp_path):
    got = photo(saved(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)), tmp_path)
    assert len(got.unique()) == 64 * 64
    assert got.max() == pytest.approx(4095 / 65535)


def test_two_colours(tmp_path):
    got = photo(saved(Image.fromarray(RAMP > 128)), tmp_path)
    assert torch.equal(got, torch.from_numpy(RAMP > 128).float().expand(3, 64, 64))


def test_sixteen_bits_of_each_colour(tmp_path):
    """Pillow does not write such a PNG: three channels of 16 bits, by hand."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + struct.pack(">3H", 65535, 32896, 0) * 4 for _ in range(4))
    header = struct.pack(">2I5B", 4, 4, 16, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert (photo(content, tmp_path, 4)[:, 0, 0] * 255).round().tolist() == [255, 128, 0]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white_and_not_what_lies_under_it(tmp_path, mode):
    picture = Image.new("RGBA", (8, 8), (0, 0, 0, 0))  # black, but nobody sees it
    picture.paste((255, 0, 0, 255) if mode == "RGBA" else (0, 0, 0, 255), (0, 0, 4, 8))
    content = saved(picture, "GIF") if mode == "P" else saved(picture.convert(mode))
    got = photo(content, tmp_path, 8)
    assert got[:, :, 4:].min() == 1
    assert got[:, 0, 0].tolist() == ([1, 0, 0] if mode == "RGBA" else [0, 0, 0])


def test_half_transparent_black_on_white_is_grey(tmp_path):
    assert photo(saved(Image.new("RGBA", (8, 8), (0, 0, 0, 128))), tmp_path, 4).mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_the_camera_says(tmp_path, orientation):
    """The eight orientations of EXIF: what the upright picture must become for the camera to store it so."""
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[:4, :4], upright[:4, 4:], upright[4:, :4] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    got = photo(saved(np.ascontiguousarray(stored), "PNG", exif=exif), tmp_path, 8)
    assert torch.equal(got, torch.from_numpy(upright).permute(2, 0, 1) / 255)


def test_the_middle_is_that_of_the_turned_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16] = 255
    assert photo(saved(wide, exif=exif), tmp_path, 8).min() == 1


@pytest.mark.filterwarnings("ignore:(Possibly corrupt|Corrupt) EXIF data")
def test_damaged_exif_data_do_not_make_a_picture_unreadable(tmp_path):
    content = saved(Image.new("RGB", (8, 8), "red"), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(20))
    assert photo(content, tmp_path, 4)[0].mean() > 0.95


def test_white_as_zero_is_refused_where_pillow_does_not_turn_it_round(tmp_path):
    content = bytearray(saved((RAMP * 257).astype(np.uint16), "TIFF"))
    entry = content.index(b"\x06\x01\x03\x00\x01\x00\x00\x00\x01")  # the tag 262 with its value 1
    content[entry + 8] = 0
    with pytest.raises(ValueError, match=r"mode I;16 of TIFF.*black as 0"):
        photo(bytes(content), tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            saved(RAMP.astype(np.float32), "TIFF"),
            r"mode F, .*\[0, 1\], is from 0 to 255; divide by the number of white",
        ),
        (saved((RAMP / 127 - 1).astype(np.float32), "TIFF"), "mode F, .* is from -1 to 1.00"),
        (saved(np.full((8, 8), np.nan, np.float32), "TIFF"), "mode F, .* is from nan to nan"),
        (saved((RAMP * 1000).astype(np.int32), "TIFF"), "mode I of TIFF, from 0 to 255000: it is not known which"),
        (b"<svg></svg>", "no picture that Pillow reads; convert it to JPEG or PNG"),
        (b"", "no picture that Pillow reads"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_brightness_that_is_not_known_is_refused(tmp_path, content, says):
    with pytest.raises(ValueError, match=f"cannot read the photo 'x' .{says}"):
        photo(content, tmp_path)
