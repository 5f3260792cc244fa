"""Shopify's product CSV file, with the header of before 2025 and the one since.

Source: https://help.shopify.com/en/manual/products/import-export/using-csv (sections "Product CSV file format" and "CSV
column descriptions"). A product has a row for each variant and for each further image, and all have its handle.
"""

from gql_imgproc.csvfile.profiles.profile import Profile
from gql_imgproc.enums import CsvProfile

SHOPIFY = Profile(
    CsvProfile.SHOPIFY,
    title="a Shopify product export",
    images=("Image Src", "Variant Image", "Product image URL", "Variant image URL"),
    ids=("Handle", "URL handle"),
    names=("Title",),
    typical=("Body (HTML)", "Vendor", "Variant SKU", "Variant Price", "Image Position", "Image Alt Text", "Status"),
)
