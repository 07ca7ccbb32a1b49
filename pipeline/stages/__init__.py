"""Units of work: one shard in, tables out."""
