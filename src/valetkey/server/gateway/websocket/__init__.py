"""WebSockets through the gateway, where an operation opts in: opened, relayed message by message, and cut."""
