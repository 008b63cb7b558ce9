//! E-mail to owners, in French and English, since the stack does not know an owner's language.

use dispers_node::keyfile::read_secret;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::authentication::Credentials,
};

use super::{Notice, NotifyError, Smtp, SmtpTls, TIMEOUT};
use crate::http::is_here;

/// Mail server with the address of the sender.
pub(super) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

fn wrong(error: impl std::fmt::Display) -> NotifyError {
    NotifyError::Smtp(error.to_string())
}

impl Mailer {
    pub(super) fn new(config: &Smtp) -> Result<Self, NotifyError> {
        type Transport = AsyncSmtpTransport<Tokio1Executor>;
        let mut builder = match config.tls {
            SmtpTls::Starttls => Transport::starttls_relay(&config.host).map_err(wrong)?,
            SmtpTls::Tls => Transport::relay(&config.host).map_err(wrong)?,
            // Without TLS, the password and the mail could be read on the way to another machine.
            SmtpTls::None if is_here(&config.host) => Transport::builder_dangerous(&config.host),
            SmtpTls::None => {
                return Err(wrong(
                    "tls = \"none\" is for a server on this machine: write \"starttls\" or \"tls\"",
                ));
            }
        };
        if let Some(port) = config.port {
            builder = builder.port(port);
        }
        if let Some(user) = &config.user {
            let file = config.password_file.as_ref();
            let file = file.ok_or_else(|| wrong("user needs password-file"))?;
            let password = read_secret(file).map_err(wrong)?;
            // Editors end a file with a line break, which does not belong to the password.
            let password = password.trim_end().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Self {
            transport: builder.timeout(Some(TIMEOUT)).build(),
            from: config
                .from
                .parse()
                .map_err(|_| wrong(format!("from: {:?} is no e-mail address", config.from)))?,
        })
    }

    pub(super) async fn send(
        &self,
        to: &str,
        notice: &Notice,
        link: Option<&str>,
    ) -> Result<(), String> {
        let message = Message::builder()
            .from(self.from.clone())
            .to(to.parse().map_err(|_| "no e-mail address".to_owned())?)
            .subject("Une question attend votre réponse / A question waits for your answer")
            .header(ContentType::TEXT_PLAIN)
            .body(text(notice, link))
            .map_err(|error| error.to_string())?;
        let sent = self.transport.send(message).await;
        sent.map(|_| ()).map_err(|error| error.to_string())
    }
}

/// Writes the text of a mail. It does not name the home, since mail may be read on its way.
fn text(notice: &Notice, link: Option<&str>) -> String {
    let Notice {
        querier,
        purpose,
        decide_by,
        ..
    } = notice;
    let (fr, en) = match link {
        Some(link) => (
            format!("Pour voir la question et décider : {link}"),
            format!("To see the question and decide: {link}"),
        ),
        None => (
            "Votre hébergeur vous dit où décider.".into(),
            "Your host tells you where to decide.".into(),
        ),
    };
    format!(
        "{querier} aimerait interroger vos données, avec celles de beaucoup d'autres.\n\
         But : {purpose}\n\
         À décider avant le : {decide_by}\n\
         {fr}\n\
         Sans réponse, rien n'est lu et personne ne l'apprend.\n\
         \n\
         {querier} would like to ask your data, together with those of many others.\n\
         Purpose: {purpose}\n\
         Decide before: {decide_by}\n\
         {en}\n\
         Without an answer nothing is read, and nobody learns so.\n"
    )
}
