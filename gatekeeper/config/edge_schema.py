"""The section [edge]: the domains with certificates, HTTP/2 and HTTP/3.

Rules. Without domains there is no edge, even if other keys are set: `serve --domain` may add them.
A wildcard needs the operator's own certificate: a CA issues one only after a change of the DNS,
which the edge cannot make.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from yarl import URL

from gatekeeper.config.problems import in_ascii, shown
from gatekeeper.config.section import KeyConflict, Section
from gatekeeper.config.types import File, is_loopback, text_or_list

_MAX_DOMAINS = 100
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
# RFC 1123 section 2.1. The last label is not a number, so that addresses are refused.
_DOMAIN = re.compile(rf"(\*\.)?({_LABEL}\.)*(?![0-9]+$){_LABEL}")
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[A-Za-z0-9.-]{1,255}")


def _edge_domain(value: object) -> str:
    text = value.lower() if isinstance(value, str) else ""
    if len(text) > 253 or not _DOMAIN.fullmatch(text):
        raise ValueError(
            f'{shown(value)} is not a domain; expected e.g. "shop.example.com" or "*.example.com", '
            f"without scheme and port{in_ascii(value)}"
        )
    return text


def _email(value: str) -> str:
    if value and not _EMAIL.fullmatch(value):
        raise ValueError(f'{shown(value)} is not an address; expected e.g. "ops@example.com"')
    return value


def _acme_directory(value: str) -> str:
    if not value:
        return value
    expected = 'expected e.g. "https://acme.example.com/directory"'
    try:
        url = URL(value)
        has_password = bool(url.user or url.password)
    except ValueError:
        raise ValueError(f"not a URL; {expected}") from None
    if has_password or not url.host or url.scheme not in {"http", "https"}:
        raise ValueError(f"{shown(value)} is not the URL of an ACME directory; {expected}")
    if url.scheme == "http" and not is_loopback(url.host):
        raise ValueError(f"{shown(value)} is not encrypted; {expected}")
    return value


def _bind(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value)) if value else ""
    except ValueError:
        raise ValueError(f'{shown(value)} is not an address; expected e.g. "203.0.113.5"') from None


EdgeDomain = Annotated[str, BeforeValidator(_edge_domain)]
Port = Annotated[int, Field(ge=1, le=65535)]


class EdgeConfig(Section):
    domains: Annotated[
        tuple[EdgeDomain, ...],
        BeforeValidator(text_or_list),
        Field(strict=False, max_length=_MAX_DOMAINS),
    ] = ()
    email: Annotated[str, AfterValidator(_email)] = ""  # the CA may write to it
    acme_ca: Annotated[str, AfterValidator(_acme_directory)] = ""  # "": Caddy's own choice
    acme_ca_root: File = ""  # certificates to trust for acme_ca in addition to the system's
    tls_cert: File = ""  # the operator's own certificate, for the domains that it names
    tls_key: File = ""
    bind: Annotated[str, AfterValidator(_bind)] = ""  # "": all addresses of this machine
    http_port: Port = 80
    https_port: Port = 443

    @property
    def is_on(self) -> bool:
        return bool(self.domains)

    def conflicts(self) -> Iterator[KeyConflict]:
        if bool(self.tls_cert) != bool(self.tls_key):
            problem = "set without tls_cert" if self.tls_key else "missing, while tls_cert is set"
            yield KeyConflict(("tls_cert", "tls_key"), f"{problem}; expected both or neither")
        if self.http_port == self.https_port:
            problem = "the same as https_port; expected another port"
            yield KeyConflict(("https_port", "http_port"), problem)
        if self.acme_ca_root and not self.acme_ca:
            problem = "missing, while acme_ca_root is set; expected the URL of its ACME directory"
            yield KeyConflict(("acme_ca_root", "acme_ca"), problem)
        for index, domain in enumerate(self.domains):
            if domain in self.domains[:index]:
                problem = f"{shown(domain)} is listed twice; expected it once"
                yield KeyConflict(("domains", f"domains[{index}]"), problem)
            if domain.startswith("*.") and not self.tls_cert:
                problem = (
                    f"{shown(domain)} needs a certificate of your own; expected tls_cert and "
                    "tls_key, or the full name of each host"
                )
                yield KeyConflict(("tls_cert", "tls_key", "domains", f"domains[{index}]"), problem)
