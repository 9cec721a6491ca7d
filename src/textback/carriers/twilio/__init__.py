"""Twilio. `client` sends and asks (worker, doctor); `hooks` reads webhooks (API).

Nothing is imported here: the API process needs `hooks` only, and the SDK behind `client` is heavy.
"""
