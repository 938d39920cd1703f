"""Measurements of .tflite files: by what tool, on what, with every repeat behind each figure."""
