"""The profiles of shops, and how a file is recognized as one of them."""

from __future__ import annotations

from collections.abc import Sequence

from gql_imgproc.csvfile.profiles.amazon import AMAZON
from gql_imgproc.csvfile.profiles.bigcommerce import BIGCOMMERCE
from gql_imgproc.csvfile.profiles.generic import GENERIC
from gql_imgproc.csvfile.profiles.google_merchant import GOOGLE_MERCHANT
from gql_imgproc.csvfile.profiles.magento import MAGENTO
from gql_imgproc.csvfile.profiles.medusa import MEDUSA
from gql_imgproc.csvfile.profiles.prestashop import PRESTASHOP
from gql_imgproc.csvfile.profiles.profile import Columns, locate
from gql_imgproc.csvfile.profiles.shopify import SHOPIFY
from gql_imgproc.csvfile.profiles.woocommerce import WOOCOMMERCE

SHOPS = (SHOPIFY, WOOCOMMERCE, MAGENTO, BIGCOMMERCE, PRESTASHOP, MEDUSA, GOOGLE_MERCHANT, AMAZON)
PROFILES = {profile.name: profile for profile in (GENERIC, *SHOPS)}

#: Columns that a shop's header has at least: for the images, for the product, and another one.
_MIN_SCORE = 3


def recognize(names: Sequence[str]) -> Columns | None:
    """Finds the shop whose header this is. The one with the most known columns wins."""
    found = (locate(profile, names) for profile in SHOPS)
    possible = [columns for columns in found if columns.images and columns.ids and columns.score >= _MIN_SCORE]
    return max(possible, key=lambda columns: columns.score, default=None)
