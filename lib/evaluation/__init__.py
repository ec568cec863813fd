"""Evaluation measures an edit: test prompts, answers judged by events, scores with intervals."""
