// What https://docs.nixflex.com/api-reference/sms/send documents.
const options = {
  method: 'POST',
  headers: {Authorization: 'Bearer KEY_ID:KEY_SECRET', 'Content-Type': 'application/json'},
  body: JSON.stringify({
    agent_id: 'agent_125207e452f8714a',
    to: '+447386172392',
    from_number: '+447446466847',
    message: 'Reminder: your appointment is tomorrow at 2pm. Reply YES to confirm.'
  })
};

fetch('https://api.nixflex.com/v1/sms', options)
  .then(async res => console.log(await res.text() + '\n' + res.status))
  .catch(err => console.error(err));
