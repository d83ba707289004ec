"""Language models behind one name: local weights, an endpoint, the answer cache, the built-in `nano`."""
