# What https://docs.bland.ai/api-v1/post/sms-send documents, with curl.
curl --request POST \
  --url https://api.bland.ai/v1/sms/send \
  --header 'Content-Type: application/json' \
  --header 'authorization: YOUR_API_KEY' \
  --data '
{
  "user_number": "+14155551234",
  "agent_number": "+14155550101",
  "agent_message": "Hi Jane, is tomorrow at 2pm still good?",
  "request_data": {"name": "Jane"},
  "new_conversation": true,
  "channel": "sms"
}
' --silent --show-error --write-out '\n%{http_code}\n'
