"""Tables and queries: functions over a connection that never commit. See ARCHITECTURE.md."""
