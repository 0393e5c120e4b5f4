"""The world: one file per outside thing, each behind a Protocol in `ports`."""
