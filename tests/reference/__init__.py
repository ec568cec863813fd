"""What the code gives is held against: the authors' figures, goldens, and today's behavior."""
