"""Certificates for upstreams over TLS: one authority per test, and servers that are right or wrong in one respect."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Signs server certificates; `root` is what a client trusts, as PEM."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _signed("Test root", self._key, issuer="Test root", by=self._key, is_authority=True)
        self.root = self._certificate.public_bytes(serialization.Encoding.PEM)

    def serves(self, folder: Path, name: str, *, ended: bool = False) -> ssl.SSLContext:
        """Return the TLS of a server with a certificate for `name`, which may have ended yesterday."""
        key = ec.generate_private_key(ec.SECP256R1())
        return _context(folder, _signed(name, key, issuer="Test root", by=self._key, ended=ended), key)


def self_signed(folder: Path, name: str) -> ssl.SSLContext:
    """Return the TLS of a server nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _context(folder, _signed(name, key, issuer=name, by=key), key)


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    issuer: str,
    by: ec.EllipticCurvePrivateKey,
    is_authority: bool = False,
    ended: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC)
    building = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=-1 if ended else 10))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if not is_authority:
        building = building.add_extension(x509.SubjectAlternativeName([_alternative(name)]), critical=False)
    return building.sign(by, hashes.SHA256())


def _alternative(name: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _context(folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
    pem = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
