"""Why TLS with a host failed, for users."""

from __future__ import annotations

import math
import ssl
import time
from contextlib import suppress
from typing import Any

import httpx

_NO_TLS = "this port does not speak TLS; try http://"
_OLD = "protocol too old; the host must offer TLS 1.2 or newer with ciphers of today"
#: By OpenSSL's name of the error.
_CAUSES = {
    **dict.fromkeys(
        ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"), _NO_TLS
    ),
    **dict.fromkeys(("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "WRONG_SSL_VERSION"), _OLD),
    **dict.fromkeys(("DH_KEY_TOO_SMALL", "UNSAFE_LEGACY_RENEGOTIATION_DISABLED", "BAD_ECPOINT"), _OLD),
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the host accepts no protocol version or cipher that this service offers",
}
#: Errors of a host that may be over in a moment.
_TEMPORARY = (None, "TLSV1_ALERT_INTERNAL_ERROR", "UNEXPECTED_EOF_WHILE_READING")
#: OpenSSL's codes of certificate errors.
_EXPIRED, _UNKNOWN_ISSUER, _OTHER_NAME = 10, (18, 19, 20, 21), (62, 63, 64)
#: Names of a certificate that a message lists.
_MAX_NAMES = 3


class TlsFailed(httpx.ConnectError):
    """TLS with the host failed, and a retry cannot help. The message is the cause, without a full stop."""


class ExplainedSSLObject(ssl.SSLObject):
    """Adds a note about the certificate to the error of a handshake, because the error has no certificate."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            chain: list[dict[str, Any]] = []
            # Not public before Python 3.13, and without parsed dates since.
            with suppress(Exception):
                chain = [certificate.get_info() for certificate in self._sslobj.get_unverified_chain()]  # type: ignore[attr-defined]
            error.add_note(_certificate_problem(error, chain))
            raise


def tls_failure(error: BaseException | None) -> TlsFailed | None:
    """None for an error that is not about TLS or may be temporary."""
    if not isinstance(error, ssl.SSLError) or (reason := error.reason) in _TEMPORARY:
        return None
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsFailed(next(iter(getattr(error, "__notes__", [])), error.verify_message))
    return TlsFailed(_CAUSES.get(reason) or reason.lower().replace("_", " "))


def _certificate_problem(error: ssl.SSLCertVerificationError, chain: list[dict[str, Any]]) -> str:
    code = error.verify_code
    # OpenSSL reports an unknown authority first. An old certificate of the chain need not be the one in use.
    dates = [ssl.cert_time_to_seconds(certificate["notAfter"]) for certificate in chain]
    expires_at = min(dates[: None if code == _EXPIRED else 1], default=math.inf)
    if expires_at < time.time():
        return f"certificate expired on {time.strftime('%Y-%m-%d', time.gmtime(expires_at))}"
    if code in _OTHER_NAME:
        names = [name for _, name in chain[0].get("subjectAltName", ())] if chain else []
        is_for = ", ".join(names[:_MAX_NAMES]) + (" and others" if len(names) > _MAX_NAMES else "")
        return f"name does not match; the certificate is for {is_for or 'another host'}"
    if code in _UNKNOWN_ISSUER:
        return (
            f"certificate of an unknown authority ({error.verify_message}); the host must send all intermediate "
            "certificates, or the operator can add an authority with SSL_CERT_FILE"
        )
    return f"certificate is invalid ({error.verify_message})"
