"""What the notebooks' sources import: models, tables, figures, stored runs, experiments, checks.

runs_NN_topic.py holds the experiments of notebook NN_topic that are too long for its page, and
checks_NN_topic.py the checks of its exercises. Nothing here imports a source or the builder.
"""
