"""The certificate authority of one `valetkey run`: made for it, kept in memory, gone with it.

It can speak for the hosts of the granted APIs and for no other, which its certificate says itself, so that even its key
would be worth nothing elsewhere. Only that certificate ever leaves this process. RFC 5280 section 4.2.
"""

import contextlib
import os
import ssl
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS: Final = 30
_EARLIER: Final = timedelta(hours=1)  # for a child whose clock is behind, in a container say


class Authority:
    """Safe for several threads. Prints without the key."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "valetkey run, this process alone")])
        self._certificate = self._certified(sorted(hosts))
        self.certificate = self._certificate.public_bytes(Encoding.PEM)
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "Authority(…)"

    def context(self, host: str) -> ssl.SSLContext:
        """The TLS of a server that is `host`, for clients that ask for exactly that name, in HTTP/1.1."""
        with self._lock:
            found = self._contexts.get(host)
            if found is None:
                found = self._contexts[host] = self._context(host)
            return found

    def _context(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        expected = None if _address(host) else host

        def asked(_socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
            # SECURITY: the tunnel, the name in TLS and `Host` are one host, or somebody is being misled.
            # Guarded by tests/flows/test_proxy.py::test_another_name_in_tls_than_in_the_tunnel_is_refused
            same = (name.lower() if name else None) == expected
            return None if same else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

        context.sni_callback = asked
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._leaf(host, key.public_key()).public_bytes(Encoding.PEM)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        # SECURITY: TLS takes a key from a file only; a pipe is one that is never on a disk.
        # Guarded by tests/flows/test_proxy.py::test_no_file_of_the_run_holds_a_key_or_a_secret
        with _piped(leaf) as certificate_file, _piped(secret) as key_file:
            context.load_cert_chain(certificate_file, key_file)
        return context

    def _certified(self, hosts: list[str]) -> x509.Certificate:
        names: list[x509.GeneralName] = [
            x509.IPAddress(ip_network(host)) if _address(host) else x509.DNSName(host) for host in hosts
        ]
        usage = _usage(key_cert_sign=True, crl_sign=True)
        return (
            self._begun(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.NameConstraints(permitted_subtrees=names, excluded_subtrees=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _leaf(self, host: str, key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        name: x509.GeneralName = x509.IPAddress(ip_address(host)) if _address(host) else x509.DNSName(host)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
        return (
            self._begun(subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _begun(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        ours = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _EARLIER)
            .not_valid_after(now + timedelta(days=_DAYS))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(ours, critical=False)
        )


def _usage(**used: bool) -> x509.KeyUsage:
    every = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: used.get(name, False) for name in every})


def _address(host: str) -> bool:
    with contextlib.suppress(ValueError):
        ip_address(host)
        return True
    return False


@contextlib.contextmanager
def _piped(content: bytes) -> Iterator[str]:
    """A file name under which this process reads `content` once. No other process inherits it."""
    reading, writing = os.pipe()
    try:
        with open(writing, "wb") as pipe:  # noqa: PTH123 - a descriptor, not a path
            pipe.write(content)  # a few hundred bytes: it fits
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)
