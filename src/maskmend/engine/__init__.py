"""The training loop, on Lightning Fabric."""
