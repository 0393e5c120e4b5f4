"""A queue system that nobody knows but these tests: a job is a shell script in the directory of its queue."""
