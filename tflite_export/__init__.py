"""The TFLite side: files out of networks. Knows nothing of how the networks were chosen."""
