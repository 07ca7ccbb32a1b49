"""`python -m jobs` is `unitscope`."""

from __future__ import annotations

from jobs.cli import main

if __name__ == "__main__":
    main()
