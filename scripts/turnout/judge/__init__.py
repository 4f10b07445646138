"""The judge of a release: counters in, a verdict and its evidence out.

Everything except `prometheus`, `simulate` and `cli` is pure: no clock, no input or output, no random numbers.
`core` is where to begin reading.
"""
