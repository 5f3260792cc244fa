"""The product feed of Google Merchant Center, separated by tabs or commas.

Source: https://support.google.com/merchants/answer/6324350 (image_link) and
https://support.google.com/merchants/answer/6324370 (additional_image_link: up to 10 URLs, separated by commas).
"""

from gql_imgproc.csvfile.profiles.profile import Profile
from gql_imgproc.enums import CsvProfile

GOOGLE_MERCHANT = Profile(
    CsvProfile.GOOGLE_MERCHANT,
    title="a Google Merchant Center feed",
    images=("image_link", "additional_image_link", "additional_image_links", "lifestyle_image_link"),
    ids=("id",),
    names=("title",),
    typical=("description", "link", "price", "availability", "brand", "gtin", "condition"),
)
