# What https://docs.kore.ai/ai-for-service/apis/contact-center/send-outbound-sms documents, with curl.
curl --location 'https://platform.kore.ai/api/public/bot/st-5f0c1a52-9d1e-5b7a-8c3f-2e6d4b8a9c01/outboundsms' \
  --header 'Content-Type: application/json;charset=UTF-8' \
  --header 'auth: YOUR_JWT' \
  --data '{
    "fromNo": "+14155550102",
    "toNo": "+14155551234"
}' --silent --show-error --write-out '\n%{http_code}\n'
