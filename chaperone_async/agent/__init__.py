"""What a worker of a queue library loads to tell the supervisor of its jobs: a few lines for each library, on top of
`chaperone_async.worker.notify`. They never block and never raise, and change nothing of what the library does."""
