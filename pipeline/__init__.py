"""From a network and an image list to tables and pictures; knows nothing of the command line."""
