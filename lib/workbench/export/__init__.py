"""A patch as a PEFT adapter or as a whole edited model, with a card that lists the edits."""
