"""Fixtures for TLS servers."""

from tests.support.tls import certificate, tls_server, tls_trusting

__all__ = ["certificate", "tls_server", "tls_trusting"]
