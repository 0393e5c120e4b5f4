"""The queue systems: for each, what runs its workers and what tells of its queues. Found by entry points."""
