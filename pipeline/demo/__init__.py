"""The demo's own data set, network and figure: what a user would bring along."""
