"""The boundary to an API server, on the official client `kubernetes`.

`client` has the objects and their errors, `transport` sends again what a bad moment lost, `connection`, `credentials`,
`kubeconfig` and `access` choose the server and say who asks, `kinds` makes every path, `rights` names what each verb
needs. Nothing else in the launcher sends a request, and nothing here knows a verb, a Job's states or a terminal's
tables. Open `client` first.
"""
