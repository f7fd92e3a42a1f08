"""JSON management routes, thin."""
