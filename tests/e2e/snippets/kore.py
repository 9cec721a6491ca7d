# ruff: noqa: S113, T201 - a reader's first try
"""The request of https://docs.kore.ai/ai-for-service/apis/contact-center/send-outbound-sms.

With the token of https://docs.kore.ai/ai-for-service/apis/automation/api-introduction.
"""

import jwt
import requests

token = jwt.encode(
    {"sub": "1234567890", "appId": "YOUR_CLIENT_ID"}, "YOUR_CLIENT_SECRET", algorithm="HS256"
)

url = "https://platform.kore.ai/api/public/bot/st-5f0c1a52-9d1e-5b7a-8c3f-2e6d4b8a9c01/outboundsms"

payload = {"fromNo": "+14155550102", "toNo": "+14155551234"}
headers = {"Content-Type": "application/json;charset=UTF-8", "auth": token}

response = requests.post(url, json=payload, headers=headers)

print(response.text)
print(response.status_code)
