"""C99 without an interpreter out of int8 networks: constants, one function a point, and the kernels that these call."""
