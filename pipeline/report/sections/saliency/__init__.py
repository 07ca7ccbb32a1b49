"""Saliency maps of images: gradients of a class score with respect to the pixels."""
