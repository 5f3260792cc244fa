"""The GraphQL documents of the client."""

from __future__ import annotations

from gql_imgproc.client.request import CHANGES_FIELDS, ESTIMATE_FIELDS, REQUEST_FIELDS


def _mutation(name: str, success: str = f"request {{ {REQUEST_FIELDS} }}", errors: str = "") -> str:
    kind = name[0].upper() + name[1:]
    return (
        f"mutation ($input: {kind}Input!) {{ {name}(input: $input) {{ __typename"
        f" ... on {kind}Success {{ {success} }} ... on UserError {{ message }} {errors} }} }}"
    )


CSV_ISSUES = "... on CsvInvalid { totalErrors errors { row column code message } }"
UPLOAD = _mutation("uploadCsv", f"request {{ {REQUEST_FIELDS} warnings {{ row column code message }} }}", CSV_ISSUES)
ESTIMATE = f"""query ($input: UploadCsvInput!) {{ estimateCsv(input: $input) {{ __typename
  ... on CsvEstimate {{ {ESTIMATE_FIELDS} }} ... on UserError {{ message }} {CSV_ISSUES} }} }}"""
CANCEL = _mutation("cancelRequest")
RETRY = _mutation("retryFailedImages")
DELETE = _mutation("deleteRequest", "deletedId")
GET = f"query ($id: ID!) {{ request(id: $id) {{ {REQUEST_FIELDS} }} }}"
CHANGES = f"query ($id: ID!) {{ request(id: $id) {{ changes {{ {CHANGES_FIELDS} }} }} }}"
LIST = f"""query ($status: RequestStatus, $after: String) {{
  requests(first: 100, after: $after, status: $status) {{
    edges {{ node {{ {REQUEST_FIELDS} }} }} pageInfo {{ hasNextPage endCursor }}
  }}
}}"""
WATCH = f"subscription ($id: ID!) {{ requestProgress(id: $id) {{ {REQUEST_FIELDS} }} }}"
