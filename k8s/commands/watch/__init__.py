"""Reading what runs do, without changing anything: `list`, `status`, `logs`, `wait`, `why`.

`wait.wait_for_end` also serves `submit --follow`, `resume --follow` and `trigger --follow`. Start with `status`.
"""
