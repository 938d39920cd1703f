"""The functional Keras graph: cuts, costs, surgery, norms."""
