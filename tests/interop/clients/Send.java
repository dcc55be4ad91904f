// java Send.java PORT USERNAME PASSWORD FIELD...: each FIELD is a header field, `Name: value`.
import jakarta.mail.Message;
import jakarta.mail.Session;
import jakarta.mail.Transport;
import jakarta.mail.internet.MimeMessage;
import java.util.Properties;

public class Send {
    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.put("mail.smtp.host", "127.0.0.1");
        properties.put("mail.smtp.port", arguments[0]);
        properties.put("mail.smtp.auth", "true");
        properties.put("mail.smtp.dsn.notify", "FAILURE");
        MimeMessage mail = new MimeMessage(Session.getInstance(properties));
        mail.setFrom("crm@acme.example");
        mail.setRecipients(Message.RecipientType.TO, "customer@example.com");
        mail.setSubject("Hello");
        for (int i = 3; i < arguments.length; i++) {
            mail.addHeaderLine(arguments[i]);
        }
        mail.setText("lorem ipsum ".repeat(300));
        Transport.send(mail, arguments[1], arguments[2]);
    }
}
