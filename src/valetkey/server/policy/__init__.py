"""The decision core: one call in, Allow or Deny out. Touches nothing."""
