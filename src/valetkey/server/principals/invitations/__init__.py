"""Codes that sign a person in once: the first start's, invitations, and new codes for who lost a passkey."""
