"""The typed methods of the API, in groups; each builds one request and returns what came. Sends through its client.

One file for each kind of thing; all of them are known here.
"""

from valetkey.client.resources.approvals import Approvals, NoticeAddresses
from valetkey.client.resources.connections import Apps, Connections, Integrations, ResourceServers
from valetkey.client.resources.delegations import Delegations, Leases, Revocations, Tasks, Tokens
from valetkey.client.resources.group import Group, Sender
from valetkey.client.resources.people import (
    Agents,
    Engines,
    IdentityProviders,
    InitialAccessTokens,
    OrganizationGroup,
    ServiceAccounts,
    TrustedIssuers,
    Users,
)
from valetkey.client.resources.policies import Policies
from valetkey.client.resources.trail import Audit, Keys

__all__ = [
    "Agents",
    "Approvals",
    "Apps",
    "Audit",
    "Connections",
    "Delegations",
    "Engines",
    "Group",
    "IdentityProviders",
    "InitialAccessTokens",
    "Integrations",
    "Keys",
    "Leases",
    "NoticeAddresses",
    "OrganizationGroup",
    "Policies",
    "ResourceServers",
    "Revocations",
    "Sender",
    "ServiceAccounts",
    "Tasks",
    "Tokens",
    "TrustedIssuers",
    "Users",
]
