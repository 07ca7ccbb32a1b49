"""Where stages run: in this process or on a Ray cluster. The only place that imports ray."""
