"""Class models and activation maximisation: gradient ascent on an image."""
