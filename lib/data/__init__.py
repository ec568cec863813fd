"""Facts and test cases, the readers of public data files, and the texts of the library."""
