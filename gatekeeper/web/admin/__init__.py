"""The operator's listener: who may, what they may do, what they see, and what is kept of it."""

from gatekeeper.web.admin.audit import AuditLog
from gatekeeper.web.admin.guard import Credential, Guard
from gatekeeper.web.admin.listener import STATIC_PREFIX, Admin
from gatekeeper.web.admin.watch import Watch

__all__ = ["STATIC_PREFIX", "Admin", "AuditLog", "Credential", "Guard", "Watch"]
