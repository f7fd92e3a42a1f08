"""Engine, transactions, group commit with the revocation fence, migrations. Knows no product noun."""
