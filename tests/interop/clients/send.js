// node send.js PORT USERNAME PASSWORD
const nodemailer = require("nodemailer");
const [port, user, pass] = process.argv.slice(2);
const gateway = nodemailer.createTransport({ host: "127.0.0.1", port: Number(port), auth: { user, pass } });
gateway
  .sendMail({ from: "crm@acme.example", to: "customer@example.com", subject: "Hello", text: "lorem ipsum ".repeat(300) })
  .then((sent) => console.log(sent.response))
  .catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
