"""The hash chain that knows everything that happened, and its signed checkpoints."""
