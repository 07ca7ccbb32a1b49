"""One reader per kind of image list: a folder, a CSV, Parquet files, tar shards."""
