"""From a folder, manifest, table or tar to batches of pixels."""
