// What https://docs.bland.ai/api-v1/post/sms-send documents.
const options = {
  method: 'POST',
  headers: {authorization: 'YOUR_API_KEY', 'Content-Type': 'application/json'},
  body: JSON.stringify({
    user_number: '+14155551234',
    agent_number: '+14155550101',
    agent_message: 'Hi Jane, is tomorrow at 2pm still good?',
    request_data: {name: 'Jane'},
    new_conversation: true,
    channel: 'sms'
  })
};

fetch('https://api.bland.ai/v1/sms/send', options)
  .then(async res => console.log(await res.text() + '\n' + res.status))
  .catch(err => console.error(err));
