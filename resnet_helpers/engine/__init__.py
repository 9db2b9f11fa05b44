"""What makes training fast: for `fit`, which knows it as one object, `arithmetic.Arithmetic`.

Readers of the lesson need none of this. It changes how a step is computed, never what.
"""
