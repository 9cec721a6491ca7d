"""Engines: what runs the agent's turn. Each takes what was heard and gives what to say.

An engine cannot send, sees no phone number and writes nothing; it never raises for an outcome that
can be expected, but says `TurnFailed` with a reason an operator can act on.
"""
