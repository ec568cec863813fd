"""Looking inside: causal traces, the logit lens, superposition of keys, damage that builds up."""
