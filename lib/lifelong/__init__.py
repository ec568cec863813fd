"""Many edits one after another: the stream, its journal, and what is measured on the way."""
