"""Name or file -> anchor: a pretrained model that takes raw images, with its label space."""
