"""Looking inside a model: causal traces, logit lens, superposition, damage."""
