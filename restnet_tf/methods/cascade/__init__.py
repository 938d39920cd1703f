"""Cascades of any two or three models, .tflite files among them, without training."""
