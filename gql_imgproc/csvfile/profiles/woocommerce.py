"""WooCommerce's product CSV file.

Source: https://github.com/woocommerce/woocommerce/wiki/Product-CSV-Import-Schema. `Images` has the URLs of a product,
separated by commas. The row of a variation follows that of its product; its `Parent` is the SKU of the product, or its
ID, like "id:102".
"""

from gql_imgproc.csvfile.profiles.profile import Profile
from gql_imgproc.enums import CsvProfile

WOOCOMMERCE = Profile(
    CsvProfile.WOOCOMMERCE,
    title="a WooCommerce product export",
    images=("Images",),
    ids=("SKU", "ID"),
    names=("Name",),
    parents=("Parent",),
    typical=("Type", "Published", "Is featured?", "Regular price", "Sale price", "Categories", "In stock?"),
)
