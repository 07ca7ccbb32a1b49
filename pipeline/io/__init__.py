"""Objects by path or URL: the only code that opens a file or a store."""
