"""Amazon's inventory file ("flat file"), and files of other marketplaces with the same column names.

Source: the data definitions of Amazon's templates, https://sellercentral.amazon.com/help/hub/reference/external/581.
Above the column names, Amazon's own files have a row about the template and one with the names in words.
"""

from gql_imgproc.csvfile.profiles.profile import Profile
from gql_imgproc.enums import CsvProfile

AMAZON = Profile(
    CsvProfile.AMAZON,
    title="an Amazon inventory file",
    images=("main_image_url", "other_image_url{n}", "swatch_image_url"),
    ids=("item_sku", "sku", "seller_sku"),
    names=("item_name", "title"),
    has_title=True,
    typical=("feed_product_type", "external_product_id", "brand_name", "standard_price", "quantity", "parent_child"),
)
