"""StitchNet: nets composed of a pool's fragments for one user's few images, without back-propagation."""
