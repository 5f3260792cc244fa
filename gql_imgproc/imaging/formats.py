"""The supported formats, their properties, and how the first bytes identify a format."""

from __future__ import annotations

from dataclasses import dataclass

from gql_imgproc.imaging.errors import not_an_image, unsupported


@dataclass(frozen=True, slots=True)
class Format:
    """A supported format. `name` is Pillow's name, `max_side` the maximum of width and height in pixels."""

    name: str
    label: str
    extension: str
    max_side: int
    animated: bool = False
    alpha: bool = True
    #: Whether the format supports CMYK, and 16-bit grey.
    color_modes: bool = False
    high_bit_depth: bool = False
    #: Pillow's modes that are stored as grey; a profile for grey applies to no other.
    grey_modes: tuple[str, ...] = ("L", "LA", "I;16")
    oriented_by_pillow: bool = False
    #: Whether primaries and transfer of HDR and video are stored.
    video_colors: bool = False
    #: Least saving if the quality of a source is not read. Encoding pixels again saves a few percent at any quality.
    min_saving_percent: float = 0.0
    #: Whether the quality has an effect on the pixels.
    quality_matters: bool = True
    #: The quality below which files hardly get smaller, or at all: a palette always has 256 colours.
    lowest_quality: int = 10

    @property
    def media_type(self) -> str:
        return f"image/{self.name.lower()}"


FORMATS = {
    f.name: f
    for f in (
        Format("JPEG", "JPEG", "jpg", 65_500, alpha=False, color_modes=True),
        Format(
            "PNG", "PNG", "png", 2**31 - 1, animated=True, high_bit_depth=True, video_colors=True, lowest_quality=50
        ),
        Format("WEBP", "WebP", "webp", 16_383, animated=True, grey_modes=()),
        Format(
            "AVIF", "AVIF", "avif", 65_536, animated=True, grey_modes=("L",), video_colors=True, min_saving_percent=10.0
        ),
        # Read only, with the extra `heic`.
        Format("HEIF", "HEIC", "heic", 65_536),
        Format("GIF", "GIF", "gif", 65_535, animated=True, quality_matters=False),
        Format(
            "TIFF",
            "TIFF",
            "tiff",
            2**31 - 1,
            color_modes=True,
            high_bit_depth=True,
            oriented_by_pillow=True,
            quality_matters=False,
        ),
        Format("BMP", "BMP", "bmp", 2**31 - 1, quality_matters=False),
    )
}
SUPPORTED = ", ".join(f.label for f in list(FORMATS.values())[:-1] if f.name != "HEIF") + " or BMP"

_SUPPORTED_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
)
_UNSUPPORTED_IMAGES = (
    (b"%!PS", "a PostScript (EPS) file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript (EPS) file"),
    (b"%PDF-", "a PDF document"),
    (b"8BPS", "a Photoshop (PSD) file"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"II\xbc", "a JPEG XR image"),
    (b"\0\0\1\0", "a Windows icon (ICO)"),
    (b"\0\0\2\0", "a Windows cursor (CUR)"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)"),
    (b"AT&TFORM", "a DjVu document"),
    (b"gimp xcf", "a GIMP (XCF) file"),
    (b"DDS ", "a DDS texture"),
    (b"qoif", "a QOI image"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"\x8aMNG", "an MNG animation"),
    (b"\x8bJNG", "a JNG image"),
    (b"icns", "an Apple icon (ICNS)"),
    (b"FORM", "an IFF image"),
    *((f"P{n}{blank}".encode(), "a PNM image") for n in range(1, 8) for blank in "\n\r\t "),
)
_OTHER_FILES = (
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"\x1a\x45\xdf\xa3", "a video"),
    (b"ID3", "a sound file"),
    (b"OggS", "a sound or video file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
#: Brands of ISO base media files with still images in HEVC or another codec.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avci", b"jpeg")
#: Bytes of a text that are searched, because a licence comment may precede `<svg`.
_TEXT_HEAD_BYTES = 1024


def detect_format(data: bytes) -> Format:
    """Raises ImageError if the first bytes are those of another format, and says which."""
    for magic, name in _SUPPORTED_MAGIC:
        if data.startswith(magic):
            if name == "TIFF" and data[8:10] == b"CR":
                raise _unsupported("a camera's raw file")
            return FORMATS[name]
    if data[:4] == b"RIFF" and len(data) >= 12:
        if data[8:12] == b"WEBP":
            return FORMATS["WEBP"]
        raise _not_an_image("a sound or video file")
    if data[4:8] == b"ftyp":
        return _detect_iso_media(data)
    for magic, description in _UNSUPPORTED_IMAGES:
        if data.startswith(magic):
            raise _unsupported(description)
    for magic, description in _OTHER_FILES:
        if data.startswith(magic):
            raise _not_an_image(description)
    raise _text_error(data)


def _detect_iso_media(data: bytes) -> Format:
    box = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    brands = {box[:4]} | {box[i : i + 4] for i in range(8, len(box), 4)}
    if brands & {b"avif", b"avis"}:
        return FORMATS["AVIF"]
    if brands & set(_HEIF_BRANDS):
        return FORMATS["HEIF"]
    raise _not_an_image("a video")


def _text_error(data: bytes) -> Exception:
    if not data.strip(b"\0 \t\r\n"):
        return not_an_image("The file is empty.")
    head = data[:_TEXT_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith(b"<"):
        svg, page = head.find(b"<svg"), min((i for i in (head.find(t) for t in _HTML_TAGS) if i >= 0), default=-1)
        if svg >= 0 and (page < 0 or svg < page):
            return _unsupported("an SVG drawing")
        if page >= 0:
            return not_an_image("The host returned a web page instead of an image. Use the URL of the image itself.")
        return _not_an_image("an XML document")
    if head.startswith((b"{", b"[")):
        return _not_an_image("JSON data")
    return not_an_image("The file is not an image in a known format.")


_HTML_TAGS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")


def _unsupported(description: str) -> Exception:
    return unsupported(f"The file is {description}, which is not supported. Use {SUPPORTED}.")


def _not_an_image(description: str) -> Exception:
    return not_an_image(f"The file is {description}, not an image.")
