"""Measuring an edit: test prompts, answers judged by success criteria, scores with intervals."""
