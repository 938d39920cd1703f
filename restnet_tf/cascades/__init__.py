"""Cascades: chains of stages with thresholds, planned from class probabilities alone."""
