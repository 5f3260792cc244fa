"""Medusa's product CSV file.

Source: https://docs.medusajs.com/user-guide/products/import. Each row is a variant, and repeats the columns of its
product.
"""

from gql_imgproc.csvfile.profiles.profile import Profile
from gql_imgproc.enums import CsvProfile

MEDUSA = Profile(
    CsvProfile.MEDUSA,
    title="a Medusa product export",
    images=("Product Thumbnail", "Product Image {n} Url", "Product Image {n}", "Variant Thumbnail"),
    ids=("Product Handle", "Product Id"),
    names=("Product Title",),
    typical=("Product Status", "Product Subtitle", "Variant Title", "Variant SKU", "Variant Id"),
)
