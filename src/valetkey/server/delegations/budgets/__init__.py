"""What a line may be used for at most, and how much of it is spent."""
