"""LEMoE: a new expert beside one MLP for every batch of facts, and a router over them."""
