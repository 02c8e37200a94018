"""Writing and trying a job file, without a cluster: `init`, `check`, `fit`.

`local` holds the verbs; `init` builds the text of a job file from a Parquet schema. `check` and `fit` start the
trainer in another process, so nothing here imports TensorFlow.
"""
