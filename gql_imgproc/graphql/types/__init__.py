"""The types of the schema, one noun per file. Enums come first: types that use them need their descriptions."""

from gql_imgproc.graphql.types import enums

__all__ = ["enums"]
