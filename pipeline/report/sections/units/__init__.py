"""The units: per layer a page of top patches, projections and statistics (ZF fig. 2)."""
