"""The class: a page and exercises for each session, and a grader for them (see TEACHER.md)."""
