// What https://docs.poly.ai/api-reference/messaging/sms-and-rcs-api/send-sms documents.
const options = {
  method: 'POST',
  headers: {
    'X-PolyAi-Auth-Token': 'YOUR_API_KEY',
    'X-TOKEN-ID': 'YOUR_CONNECTOR_ID',
    'Content-Type': 'application/json'
  },
  body: JSON.stringify({
    message: 'Hi Jane, your appointment is confirmed for tomorrow at 2pm.',
    user_number: '+14155551234',
    agent_number: '+14155550100'
  })
};

fetch('https://api.us-1.platform.polyai.app/v1/outbound-sms', options)
  .then(async res => console.log(await res.text() + '\n' + res.status))
  .catch(err => console.error(err));
