"""LEMoE: a new expert for every batch of facts, added to one MLP, and a router over them."""
