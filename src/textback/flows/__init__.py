"""One file per arrow of the diagram in ARCHITECTURE.md. Flows own the transactions."""
