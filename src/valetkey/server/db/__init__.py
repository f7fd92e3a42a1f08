"""Engine, schema, transactions, group commit with the revocation fence, change feed, migrations."""
