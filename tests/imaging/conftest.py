from __future__ import annotations

from collections.abc import Iterator

import pytest

from gql_imgproc.imaging.codecs import png_palette


@pytest.fixture(scope="session", autouse=True)
def _without_extras() -> Iterator[None]:
    """Tests run without libimagequant even if it is installed. Tests of the extra enable it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png_palette, "libimagequant", None)
        yield
