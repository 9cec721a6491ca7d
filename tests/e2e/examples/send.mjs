const options = {
  method: 'POST',
  headers: {
    'X-PolyAi-Auth-Token': process.env.API_KEY,
    'X-TOKEN-ID': process.env.CONNECTOR_ID,
    'Content-Type': 'application/json'
  },
  body: JSON.stringify({
    message: 'Hi Jane, your appointment is confirmed for tomorrow at 2pm.',
    user_number: '+14155551234',
    agent_number: '+14155550100'
  })
};

fetch(process.env.BASE_URL + '/v1/outbound-sms', options)
  .then(async res => process.stdout.write(await res.text() + res.status))
  .catch(err => console.error(err));
