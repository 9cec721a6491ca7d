"""Language models and the tools that agents call: one door, whoever's the model is."""

import logging

# These write whole requests into the log when it is set to debug, and addresses when to info.
for _talkative in ("anthropic", "fastmcp", "httpcore2", "httpx2", "mcp", "openai", "pydantic_ai"):
    logging.getLogger(_talkative).setLevel(logging.WARNING)
