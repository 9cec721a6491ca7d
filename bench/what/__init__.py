"""The benches, each a module with `run(options) -> Result`."""
