"""The parts that several editors share.

These are the base class and its settings, the MEMIT family's loop over layers, the training loop of
fine-tuning and LoRA, the frame of routed editors, and the editor wrapping another editor.
"""
