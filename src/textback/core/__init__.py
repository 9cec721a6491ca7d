"""The rules. Pure: no I/O, no clock, no framework; see ARCHITECTURE.md."""
