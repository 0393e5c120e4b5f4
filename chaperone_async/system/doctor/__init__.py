"""What this machine or container gives a supervisor, and what it lacks: look-ups that change nothing, each
returning findings."""
