"""Who moves the texts: one module or folder per carrier; they know only `core`."""
