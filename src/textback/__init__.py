"""textback: text people through a carrier, and let an agent carry on when they text back."""

__version__ = "0.1.0"
