"""The faces: command line, HTTP, logs. They translate and decide nothing."""
