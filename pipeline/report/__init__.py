"""Tables to pictures and pages."""
