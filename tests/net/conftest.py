"""Fixtures for TLS servers."""

from tests.support.tls import certificate, expired_certificate, tls_server, tls_trusting

__all__ = ["certificate", "expired_certificate", "tls_server", "tls_trusting"]
