curl --request POST \
  --url "$BASE_URL/v1/outbound-sms" \
  --header 'Content-Type: application/json' \
  --header "X-PolyAi-Auth-Token: $API_KEY" \
  --header "X-TOKEN-ID: $CONNECTOR_ID" \
  --data '
{
  "message": "Hi Jane, your appointment is confirmed for tomorrow at 2pm.",
  "user_number": "+14155551234",
  "agent_number": "+14155550100"
}
' --silent --show-error --write-out '%{http_code}'
