"""PrestaShop's import file for products and for combinations, usually separated by semicolons.

Source: the column labels in `AdminImportController` of https://github.com/PrestaShop/PrestaShop. "x,y,z..." in a label
means several values in a cell.
"""

from gql_imgproc.csvfile.profiles.profile import Profile
from gql_imgproc.enums import CsvProfile

PRESTASHOP = Profile(
    CsvProfile.PRESTASHOP,
    title="a PrestaShop product file",
    images=("Image URLs (x,y,z...)",),
    ids=("Product ID", "ID", "Product ID*", "Product reference", "Reference #", "Reference"),
    names=("Name *", "Name"),
    typical=("Active (0/1)", "Categories (x,y,z...)", "Price tax excluded", "Price tax included", "Quantity"),
)
