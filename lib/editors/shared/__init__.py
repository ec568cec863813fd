"""The parts that several editors share.

They are the base class and its settings, the loop over layers of the MEMIT family, the training
loop of fine-tuning and LoRA, the frame of routed editors, and the editor around another editor.
"""
