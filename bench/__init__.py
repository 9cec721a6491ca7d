"""How fast it is, measured beside its own ceilings: `python -m bench`."""
