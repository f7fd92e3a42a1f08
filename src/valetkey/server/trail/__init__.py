"""The audit trail as people and programs look at it: who sees what, in which words, and what was proven."""
