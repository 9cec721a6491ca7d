# What https://docs.poly.ai/api-reference/messaging/sms-and-rcs-api/send-sms documents, with curl.
curl --request POST \
  --url https://api.us-1.platform.polyai.app/v1/outbound-sms \
  --header 'Content-Type: application/json' \
  --header 'X-PolyAi-Auth-Token: YOUR_API_KEY' \
  --header 'X-TOKEN-ID: YOUR_CONNECTOR_ID' \
  --data '
{
  "message": "Hi Jane, your appointment is confirmed for tomorrow at 2pm.",
  "user_number": "+14155551234",
  "agent_number": "+14155550100"
}
' --silent --show-error --write-out '\n%{http_code}\n'
