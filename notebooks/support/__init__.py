"""What the notebooks' sources import: models, holes, tables, figures, stored runs, experiments.

runs_NN_topic.py holds the experiments of notebook NN_topic that are too long for its page. Nothing
here imports a source or the builder.
"""
