"""The fluent face: builds specifications, starts supervision, submits requests."""
