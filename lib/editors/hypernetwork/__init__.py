"""The network that MEND, MALMEN and RLEdit share: its layers, its training and its file."""
