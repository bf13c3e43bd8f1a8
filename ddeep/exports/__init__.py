"""Networks that leave ddeep: plain files, and physically smaller networks for some of the classes."""
