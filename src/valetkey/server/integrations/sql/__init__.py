"""What one SQL statement reads, by PostgreSQL's own grammar. A second line: the barrier is the role's rights."""
