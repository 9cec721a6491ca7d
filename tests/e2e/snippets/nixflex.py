# ruff: noqa: S113, T201 - a reader's first try
"""What https://docs.nixflex.com/api-reference/sms/send documents."""

import requests

url = "https://api.nixflex.com/v1/sms"

payload = {
    "agent_id": "agent_125207e452f8714a",
    "to": "+447386172392",
    "from_number": "+447446466847",
    "message": "Reminder: your appointment is tomorrow at 2pm. Reply YES to confirm.",
}
headers = {
    "Authorization": "Bearer KEY_ID:KEY_SECRET",
    "Content-Type": "application/json",
}

response = requests.post(url, json=payload, headers=headers)

print(response.text)
print(response.status_code)
