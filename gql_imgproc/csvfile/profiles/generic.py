"""Our own format; docs/API.md describes it."""

from gql_imgproc.csvfile.profiles.profile import Profile
from gql_imgproc.enums import CsvProfile

GENERIC = Profile(
    CsvProfile.GENERIC,
    title="our own format",
    images=("Input Image Urls{n}", "Input Image Url{n}", "Image Urls{n}", "Image Url{n}"),
    ids=("S. No.", "Sr. No.", "Sl. No.", "Serial No.", "Serial Number"),
    names=("Product Name",),
    is_complete=True,
)
