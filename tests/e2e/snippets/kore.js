// The request of https://docs.kore.ai/ai-for-service/apis/contact-center/send-outbound-sms with the
// token of https://docs.kore.ai/ai-for-service/apis/automation/api-introduction.
const {createHmac} = require('node:crypto');

const part = value => Buffer.from(JSON.stringify(value)).toString('base64url');
const signed =
  part({alg: 'HS256', typ: 'JWT'}) + '.' + part({sub: '1234567890', appId: 'YOUR_CLIENT_ID'});
const token =
  signed + '.' + createHmac('sha256', 'YOUR_CLIENT_SECRET').update(signed).digest('base64url');

const options = {
  method: 'POST',
  headers: {'Content-Type': 'application/json;charset=UTF-8', auth: token},
  body: JSON.stringify({fromNo: '+14155550102', toNo: '+14155551234'})
};

fetch('https://platform.kore.ai/api/public/bot/st-5f0c1a52-9d1e-5b7a-8c3f-2e6d4b8a9c01/outboundsms', options)
  .then(async res => console.log(await res.text() + '\n' + res.status))
  .catch(err => console.error(err));
