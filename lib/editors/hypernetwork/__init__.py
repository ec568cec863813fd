"""The network of MEND, MALMEN and RLEdit: its layers, its training and its file."""
