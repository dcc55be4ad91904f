// node send.js PORT USERNAME PASSWORD FIELD...: each FIELD is a header field, `Name: value`.
const nodemailer = require("nodemailer");
const [port, user, pass, ...fields] = process.argv.slice(2);
const gateway = nodemailer.createTransport({ host: "127.0.0.1", port: Number(port), auth: { user, pass } });
const headers = fields.map((field) => field.split(/: (.*)/)).map(([key, value]) => ({ key, value }));
const text = "lorem ipsum ".repeat(300);
gateway
  .sendMail({ from: "crm@acme.example", to: "customer@example.com", subject: "Hello", headers, text })
  .then((sent) => console.log(sent.response))
  .catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
