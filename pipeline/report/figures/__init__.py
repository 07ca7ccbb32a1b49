"""Single PNG figures, drawn by `unitscope show`."""
