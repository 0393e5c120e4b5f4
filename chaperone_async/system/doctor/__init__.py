"""What this machine or container gives a supervisor, and what it lacks: pure look-ups, each returning findings."""
