"""The Keras side: which network to build."""
