"""Our own routes: conversations, and who has them."""
