"""What a task, and an agent in the last hour, has read and done: kept in the commit that records each decision."""
