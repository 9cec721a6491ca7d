# ruff: noqa: S113, T201 - a reader's first try
"""What https://docs.poly.ai/api-reference/messaging/sms-and-rcs-api/send-sms documents."""

import requests

url = "https://api.us-1.platform.polyai.app/v1/outbound-sms"

payload = {
    "message": "Hi Jane, your appointment is confirmed for tomorrow at 2pm.",
    "user_number": "+14155551234",
    "agent_number": "+14155550100",
}
headers = {
    "X-PolyAi-Auth-Token": "YOUR_API_KEY",
    "X-TOKEN-ID": "YOUR_CONNECTOR_ID",
    "Content-Type": "application/json",
}

response = requests.post(url, json=payload, headers=headers)

print(response.text)
print(response.status_code)
