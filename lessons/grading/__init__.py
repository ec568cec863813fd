"""Grading the class: from a student's file to a verdict or a place in a ranking.

The modules build on each other in this order: wire, confinement, audit_hook, files, toy_networks;
archives, notebook_files; student_file; sandbox; exercise_source; verdict; hand_ins, diagnosis,
gradebooks; course; class_folder. child.py is the program that runs inside the sandbox's process.
leaderboard_entry and leaderboard_entrant are the two sides of a process that runs one editor of the
leaderboard.
"""
