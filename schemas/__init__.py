"""What crosses a border: errors, specs, table schemas, manifests. Loads neither torch nor ray."""
