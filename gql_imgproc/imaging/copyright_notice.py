"""Who made an image and who holds its rights: read from EXIF, IPTC and XMP, and written in a few hundred bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from PIL import Image

from gql_imgproc.imaging.exif import decode_text

#: Bytes of XMP that are parsed, and characters of one text that are kept.
MAX_XMP_BYTES, _MAX_TEXT = 262_144, 1_000
_ARTIST, _COPYRIGHT = 0x013B, 0x8298
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC, _PHOTOSHOP = "http://purl.org/dc/elements/1.1/", "http://ns.adobe.com/photoshop/1.0/"
_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{rdf}"><rdf:Description rdf:about="" xmlns:dc="{dc}" '
    'xmlns:photoshop="{photoshop}"{credit}>{creator}{rights}</rdf:Description></rdf:RDF></x:xmpmeta>'
)
_CREATOR = "<dc:creator><rdf:Seq><rdf:li>{}</rdf:li></rdf:Seq></dc:creator>"
_RIGHTS = '<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">{}</rdf:li></rdf:Alt></dc:rights>'
#: Data sets of IPTC (IIM 4.2, record 2): by-line, credit, copyright notice; and of record 1 the character set.
_IPTC_NAMES = {80: "creator", 110: "credit", 116: "rights"}
_IPTC_HEAD_BYTES, _UTF8 = 5, b"\x1c\x01\x5a\0\x03\x1b%G"


@dataclass(frozen=True, slots=True)
class Notice:
    creator: str = ""
    rights: str = ""
    credit: str = ""

    def __or__(self, other: Notice) -> Notice:
        """What this notice leaves out is taken from the other one."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__slots__)
        return Notice(*(mine or others for mine, others in pairs))


def read_exif(stored: bytes) -> Notice:
    tags = Image.Exif()
    try:
        tags.load(stored)
        texts = (tags.get(tag, "") for tag in (_ARTIST, _COPYRIGHT))
        return Notice(*(clean_text(decode_text(text)) if isinstance(text, str) else "" for text in texts))
    except Exception:
        # Thousands of devices write EXIF. Broken EXIF does not fail the image.
        return Notice()


def read_xmp(packet: bytes) -> Notice:
    if len(packet) > MAX_XMP_BYTES or b"<!" in packet:
        return Notice()
    try:
        root = ElementTree.fromstring(packet.strip(b"\0 \t\r\n"))
    except (ElementTree.ParseError, ValueError, LookupError):
        return Notice()
    names = (f"{{{_DC}}}creator", f"{{{_DC}}}rights", f"{{{_PHOTOSHOP}}}Credit")
    return Notice(*(clean_text(_property(root, name)) for name in names))


def _property(root: ElementTree.Element, name: str) -> str:
    for described in root.iter(f"{{{_RDF}}}Description"):
        if name in described.attrib:
            return described.attrib[name]
        if (element := described.find(name)) is not None:
            items = [item.text or "" for item in element.iter(f"{{{_RDF}}}li")]
            return ", ".join(items) or element.text or ""
    return ""


def read_iptc(records: bytes) -> Notice:
    sets = list(_walk_iptc(records))
    encoding = "utf-8" if any(raw == _UTF8 for raw, _, _ in sets) else "latin-1"
    texts: dict[str, str] = {}
    for raw, kind, number in sets:
        if kind == 2 and number in _IPTC_NAMES:
            text = clean_text(raw[_IPTC_HEAD_BYTES:].decode(encoding, "replace"))
            texts[_IPTC_NAMES[number]] = ", ".join(filter(None, (texts.get(_IPTC_NAMES[number]), text)))
    return Notice(**texts)


def select_iptc(records: bytes) -> bytes:
    """The records that are a notice, unchanged, with their character set; empty if there are none."""
    sets = list(_walk_iptc(records))
    notices = b"".join(raw for raw, kind, number in sets if kind == 2 and number in _IPTC_NAMES)
    return b"".join(raw for raw, kind, number in sets if (kind, number) == (1, 90)) + notices if notices else b""


def _walk_iptc(records: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Each data set with its record and number."""
    at = 0
    while records[at : at + 1] == b"\x1c" and at + _IPTC_HEAD_BYTES <= len(records):
        end = at + _IPTC_HEAD_BYTES + int.from_bytes(records[at + 3 : at + 5], "big")
        if end > len(records):
            return
        yield records[at:end], records[at + 1], records[at + 2]
        at = end


def clean_text(text: str) -> str:
    """One line without characters that XML does not allow."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_MAX_TEXT].strip()


def exif_tags(notice: Notice) -> dict[int, str]:
    return {tag: text for tag, text in ((_ARTIST, notice.creator), (_COPYRIGHT, notice.rights)) if text}


def write_xmp(notice: Notice) -> bytes:
    if notice == Notice():
        return b""
    return _XMP.format(
        rdf=_RDF,
        dc=_DC,
        photoshop=_PHOTOSHOP,
        credit=f" photoshop:Credit={quoteattr(notice.credit)}" if notice.credit else "",
        creator=_CREATOR.format(escape(notice.creator)) if notice.creator else "",
        rights=_RIGHTS.format(escape(notice.rights)) if notice.rights else "",
    ).encode()
