"""Pure functions on tensors: no files, no globals, no settings objects."""
