"""All that has to be measured on a graphics card, in one command of at most nine minutes.

    python -m tests.benchmarks.gpu OUT.json

It needs no network. Each part has a time limit of its own and each row is in the file as soon as it
is known, so a run that is cut short counts as far as it went. Without a card everything runs at
tiny scale on the CPU in a minute or two, and with `--device sim:0` on the simulated card of the
tests, which shows that the program works and says nothing of speed.

`supervise.py` starts the parts and keeps the file, `worker.py` is the process in which they run,
`measure.py` has the clock, the rates and the floor, `scale.py` the models, facts and settings, and
`values.py`, `speed.py` and `moments.py` have the parts themselves.
"""
