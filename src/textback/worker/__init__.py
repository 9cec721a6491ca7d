"""Loops that move due rows on. Runs without a web server."""
