"""Language models behind one interface: local weights, endpoints, the answer cache, the built-in `nano`."""
