"""The precision ``mixed``: int8 with activations of sixteen bits, or floats, where measured sensitivity says so."""
