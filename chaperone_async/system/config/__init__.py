"""From `chaperone.toml` to `PoolSpec`s.

`load.load` reads and checks everything, `lint.lint` warns, and `locate.locate_socket` only finds where the supervisor
listens: that one is for probe clients, so nothing heavy is imported here.
"""
