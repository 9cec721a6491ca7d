"""Nixflex's routes."""
