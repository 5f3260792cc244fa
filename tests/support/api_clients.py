"""The caller in tests that are not about authentication."""

from __future__ import annotations

from gql_imgproc.security.scopes import anonymous_caller

ANYBODY = anonymous_caller("127.0.0.1", is_unlimited=True)
