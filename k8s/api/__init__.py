"""The boundary to an API server: access, transport, client, API errors, rights.

Nothing else in the launcher sends a request. Open `client` first.
"""
