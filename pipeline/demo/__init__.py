"""The demo's own pictures, network and figure: what a user would bring along."""
