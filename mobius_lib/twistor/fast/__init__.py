"""Second forms of the same numbers, computed faster; each equals the readable form in values and gradients."""
