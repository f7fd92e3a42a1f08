"""The doors through which calls reach the real API."""
