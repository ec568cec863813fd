"""Facts, test cases, the public files they are read from, and the texts that ship with the
library.
"""
