import os

import requests

url = os.environ["BASE_URL"] + "/v1/outbound-sms"
payload = {
    "message": "Hi Jane, your appointment is confirmed for tomorrow at 2pm.",
    "user_number": "+14155551234",
    "agent_number": "+14155550100",
}
headers = {
    "X-PolyAi-Auth-Token": os.environ["API_KEY"],
    "X-TOKEN-ID": os.environ["CONNECTOR_ID"],
    "Content-Type": "application/json",
}

response = requests.post(url, json=payload, headers=headers, timeout=10)

print(response.text + str(response.status_code))  # noqa: T201 - as published
