"""Every method from scratch: one plain file each, with torch and transformers and nothing of `lib`.

Read them in this order, each takes up what the one before left open:

    interference   a layer as a memory: insert one pair, and what the others pay for it
    rome           one fact into one layer
    memit          many facts into several layers
    alphaedit      only where general text has no say, and with the keys of earlier edits kept
    wilke          ROME in the layer that fits the fact
    mend           a trained network improves the gradient
    malmen         many facts by such a network, and how it is trained in two phases
    ultraedit      running statistics in the place of the network
    grace          a codebook beside the weights
    wise           a side memory, and a router that asks how far it moves the output
    lemoe          one small expert for every batch of facts

`python -m notebooks.scratch.rome` edits the embedded model, which `python -m lib fetch` puts into
the cache folder; `python -m notebooks.scratch.rome FOLDER` takes a model of the Llama family from
a folder of yours. tests/notebooks/test_scratch.py compares each file with the library.
"""
