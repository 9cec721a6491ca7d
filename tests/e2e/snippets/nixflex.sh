# What https://docs.nixflex.com/api-reference/sms/send documents, with curl.
curl --request POST \
  --url https://api.nixflex.com/v1/sms \
  --header 'Authorization: Bearer KEY_ID:KEY_SECRET' \
  --header 'Content-Type: application/json' \
  --data '
{
  "agent_id": "agent_125207e452f8714a",
  "to": "+447386172392",
  "from_number": "+447446466847",
  "message": "Reminder: your appointment is tomorrow at 2pm. Reply YES to confirm."
}
' --silent --show-error --write-out '\n%{http_code}\n'
