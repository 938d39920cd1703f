"""Training behind cached features: the ladder of rungs, training views, the feature cache."""
