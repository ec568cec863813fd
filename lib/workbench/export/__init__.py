"""Exporting a patch as a PEFT adapter or a whole edited model, with a card listing the edits."""
