"""HTTP without wire formats: what every dialect and the carriers' webhooks share."""
