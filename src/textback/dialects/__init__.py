"""One folder per wire format. A dialect is removed by removing its folder."""
