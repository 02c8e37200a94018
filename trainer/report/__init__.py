"""Pages a person looks at: the report of a run, comparisons, charts.

It must not import TensorFlow or read storage: values in, HTML out. Open `page` first.
"""
