"""WebSocket, its pure parts: the opening handshake on either side, and what passes between two open connections."""
