"""The types of the schema, one noun a file. Enums first: a type that uses one needs its description."""

from gql_imgproc.graphql.types import enums

__all__ = ["enums"]
