"""One file a job: config, plan, run, merge, publish."""
