"""Pure torch: no files, no Ray."""
