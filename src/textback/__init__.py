"""textback."""
