"""BigCommerce's product CSV file: of the modern export (v3), the export "Bulk Edit" and templates with image URLs.

Sources: https://support.bigcommerce.com/articles/en_US/Knowledge/Supported-Product-Fields (v3) and
https://support.bigcommerce.com/s/article/Importing-Exporting-Products. In v3, a row is a product or one of its
variants, images and videos. `Product Image File` is a URL or a file name in the shop; an export has both, next to each
other.
"""

from gql_imgproc.csvfile.profiles.profile import Profile
from gql_imgproc.enums import CsvProfile

BIGCOMMERCE = Profile(
    CsvProfile.BIGCOMMERCE,
    title="a BigCommerce product export",
    images=(
        *("Product Image File - {n}", "Product Image URL - {n}"),
        *("Variant Image URL", "Internal Image URL (Export)", "Image URL (Import)"),
    ),
    ids=("Product ID", "Product Code/SKU", "Product SKU", "ID", "SKU"),
    names=("Product Name", "Name"),
    kind="Item",
    product_kind="Product",
    typical=(
        *("Item Type", "Product Type", "Brand Name", "Price", "Category", "Product Visible?"),
        *("Inventory Tracking", "Brand ID", "Channels", "Image is Thumbnail", "Image Sort Order"),
    ),
    has_file_names=True,
)
