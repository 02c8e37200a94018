"""Starting and ending runs: `render`, `submit`, `cancel`, `resume`.

`submit.manifests` renders the objects of a job file; `render`, `submit`, `resume` and `schedule apply` all use it, so
what is printed is what is sent. Start with `submit`.
"""
