# ruff: noqa: S113, T201 - a reader's first try
"""What https://docs.bland.ai/api-v1/post/sms-send documents."""

import requests

url = "https://api.bland.ai/v1/sms/send"

payload = {
    "user_number": "+14155551234",
    "agent_number": "+14155550101",
    "agent_message": "Hi Jane, is tomorrow at 2pm still good?",
    "request_data": {"name": "Jane"},
    "new_conversation": True,
    "channel": "sms",
}
headers = {
    "authorization": "YOUR_API_KEY",
    "Content-Type": "application/json",
}

response = requests.post(url, json=payload, headers=headers)

print(response.text)
print(response.status_code)
