"""What an edit did: test prompts, answers judged by three events, scores with intervals."""
