"""The machine: a fast BLAS, all of a CPU's cores, random keys, Ctrl-C.

Nothing here knows what is computed.
"""
