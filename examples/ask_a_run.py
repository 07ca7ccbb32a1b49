"""Three questions to a run's tables, answered with pandas: ``python examples/ask_a_run.py runs/a``.

The tables are plain Parquet: `pandas.read_parquet`, DuckDB and Polars read them as well.
"""

from __future__ import annotations

import sys

import pandas as pd

from pipeline.store import open_run


def dead_units(run: str) -> pd.DataFrame:
    """How many units of each layer no image fires: columns layer, units, dead."""
    tables = open_run(run)
    layers = tables.table("layers", columns=["layer", "position", "activation"])
    units = tables.table("units", columns=["layer", "unit", "active"])
    units = units.merge(layers[layers["activation"]], on="layer")
    counts = units.assign(dead=units["active"] == 0).groupby(["position", "layer"])["dead"]
    table = counts.agg(units="size", dead="sum").reset_index("layer")
    return table.sort_index().reset_index(drop=True)


def one_class_units(run: str, layer: str) -> pd.DataFrame:
    """Units whose top patches all come from one class: columns unit, class_name, max."""
    tables = open_run(run)
    classes = tables.table("images", columns=["image_id", "class_name"])
    tops = tables.table("top_patches", layer=layer).merge(classes, on="image_id")
    units = tops.groupby("unit").agg(
        class_name=("class_name", "first"),
        classes=("class_name", "nunique"),
        patches=("rank", "size"),
        max=("value", "max"),
    )
    pure = units[(units["classes"] == 1) & (units["patches"] > 1)]
    return pure[["class_name", "max"]].sort_values("max", ascending=False).reset_index()


def popular_images(run: str) -> pd.Series:
    """In how many units' top patches each image stands, the most wanted first."""
    return open_run(run).table("top_patches", columns=["uri"])["uri"].value_counts()


def main() -> None:
    """Print the answers for the run that the command line names."""
    run = sys.argv[1]
    dead = dead_units(run)
    print(dead.to_string(index=False))
    layer = dead["layer"].iloc[-1]
    print(f"\nunits of {layer} that one class owns")
    print(one_class_units(run, layer).head(10).to_string(index=False))
    print("\nimages that most units look for")
    print(popular_images(run).head(5).to_string())


if __name__ == "__main__":
    main()
