"""The product CSV file of Magento 2 and Adobe Commerce.

Source: https://experienceleague.adobe.com/docs/commerce-admin/systems/data-transfer/data-attributes-product.html. An
export has file names in the shop's media folder; an import also takes URLs. Several store views have a row each.
"""

from gql_imgproc.csvfile.profiles.profile import Profile
from gql_imgproc.enums import CsvProfile

MAGENTO = Profile(
    CsvProfile.MAGENTO,
    title="a Magento 2 product export",
    images=("base_image", "small_image", "thumbnail_image", "swatch_image", "additional_images"),
    ids=("sku",),
    names=("name",),
    typical=("attribute_set_code", "product_type", "product_websites", "store_view_code", "url_key", "visibility"),
    has_file_names=True,
)
