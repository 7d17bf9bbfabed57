"""Gatekeeper: a virtual waiting room in front of a web site, as a reverse proxy."""

__version__ = "0.1.0"
