"""What a person permitted an agent, and the runs under it."""
