"""The application that `chaperone demo` runs: jobs of several kinds on the embedded queue, and who sends them."""
