"""Sources: what can obtain a credential of somebody else's, and revoke it. One for each way of being narrow."""
