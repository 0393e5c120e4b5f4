"""The shell around the decisions: tasks that report facts, one runner per pool, the journal, and all pools together.

anyio only, never asyncio: so it also runs on a virtual clock.
"""
