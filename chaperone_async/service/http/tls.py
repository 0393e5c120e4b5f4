"""HTTPS for TCP listeners."""

import ssl

from chaperone_async.errors import ConfigError
from chaperone_async.system.config.load import Tls


def server_context(tls: Tls) -> ssl.SSLContext:
    """Reads both files. Raises ConfigError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.cert, tls.key, password=_refuse_to_ask)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        files = f"http.tls.cert = {tls.cert!r} and http.tls.key = {tls.key!r}"
        why = f"cannot serve HTTPS with {files}: {error}; both must be PEM files that belong together"
        raise ConfigError([why]) from error
    return context


def _refuse_to_ask() -> str:
    raise ValueError("the key is encrypted")
