"""The sections of a gallery: one folder per analysis that has pages."""
