"""The bridge to tensorflow-model-optimization, which runs in a process of its own."""
