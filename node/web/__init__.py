"""The web page for administrators, `/healthz` and the JSON API, all of them read-only."""
