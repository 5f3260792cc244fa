"""How a product file is read, as data: which columns hold images, and which identify and name a product."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from gql_imgproc.csvfile.formula_injection import is_escaped
from gql_imgproc.enums import CsvProfile

_IGNORED_IN_NAMES = re.compile("[\\s._\\-\N{ZERO WIDTH NO-BREAK SPACE}\N{ZERO WIDTH SPACE}]+")


@dataclass(frozen=True, slots=True)
class Profile:
    """Column names are compared without case, spaces, dots, underscores and hyphens. `{n}` is a number or nothing."""

    name: CsvProfile
    #: For messages: "does not have the columns of ...".
    title: str
    #: Columns with image URLs; several URLs in a cell are separated by commas, semicolons, bars or white space.
    images: tuple[str, ...]
    #: Columns that identify the product of a row. The first one that is not empty does. Consecutive rows with the same
    #: value are one product.
    ids: tuple[str, ...] = ()
    #: Columns that name a product, the best first.
    names: tuple[str, ...] = ()
    #: The column of a variant's row that identifies its product.
    parents: tuple[str, ...] = ()
    #: More columns by which the file is recognized.
    typical: tuple[str, ...] = ()
    #: The column that says what a row is, and the value of a row that begins a product.
    kind: str = ""
    product_kind: str = ""
    #: Rows above the header belong to the file.
    has_title: bool = False
    #: Image columns may hold file names on the shop's own server, which stay as they are.
    has_file_names: bool = False
    #: Each row is a product with a serial number of its own, a name and an image. Other files need none of these.
    is_complete: bool = False


@dataclass(frozen=True, slots=True)
class Columns:
    """Indices of the columns of a file."""

    profile: Profile
    #: In the order of the file.
    images: tuple[int, ...]
    #: In the order of the profile.
    ids: tuple[int, ...]
    names: tuple[int, ...]
    parents: tuple[int, ...]
    #: The column that says what a row is, if there is one.
    kinds: tuple[int, ...]
    #: How many columns of the file the profile knows.
    score: int

    @property
    def are_complete(self) -> bool:
        """Whether the file has every column that its profile needs."""
        return bool(self.images and (not self.profile.is_complete or (self.ids and self.names)))

    @property
    def used(self) -> frozenset[int]:
        return frozenset(self.images + self.ids + self.names + self.parents + self.kinds)


def normalize_name(name: str) -> str:
    """Removes differences of spelling: case, spaces, dots, underscores, hyphens."""
    return _IGNORED_IN_NAMES.sub("", name[1:] if is_escaped(name) else name).casefold()


@cache
def matcher(patterns: tuple[str, ...]) -> Callable[[str], re.Match[str] | None]:
    """Matches normalized names."""
    expressions = (re.escape(normalize_name(pattern)).replace(r"\{n\}", r"\d{0,3}") for pattern in patterns)
    return re.compile("|".join(expressions) or r"\Z.").fullmatch


def locate(profile: Profile, names: Sequence[str]) -> Columns:
    """Finds the columns of a profile. Each may be missing."""
    normalized = [normalize_name(name) for name in names]

    def find(patterns: tuple[str, ...]) -> tuple[int, ...]:
        wanted = (normalize_name(pattern) for pattern in patterns)
        return tuple(normalized.index(name) for name in wanted if name in normalized)

    is_image = matcher(profile.images)
    images = tuple(index for index, name in enumerate(normalized) if is_image(name))
    ids, labels, parents = find(profile.ids), find(profile.names), find(profile.parents)
    kinds = find((profile.kind,) if profile.kind else ())
    known = {*images, *ids, *labels, *parents, *kinds, *find(profile.typical)}
    return Columns(profile, images, ids, labels, parents, kinds, len(known))
