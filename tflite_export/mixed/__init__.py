"""The precision ``mixed``: int8 with activations of sixteen bits where measured sensitivity says so."""
