"""Apps an organization registered at an API, by which its people connect their accounts."""
