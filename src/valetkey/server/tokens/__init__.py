"""What we sign, how we verify it, and which token opens which door."""
