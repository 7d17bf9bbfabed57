"""The operator's listener: who may, what they may do, what they see, and what is kept of it."""

from gatekeeper.admin.audit import AuditLog
from gatekeeper.admin.auth import AdminAuth, Credential
from gatekeeper.admin.listener import STATIC_PREFIX, Admin
from gatekeeper.admin.monitor import Watch

__all__ = ["STATIC_PREFIX", "Admin", "AdminAuth", "AuditLog", "Credential", "Watch"]
