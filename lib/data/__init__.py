"""Facts and test cases, readers for public data files, and the library's texts."""
