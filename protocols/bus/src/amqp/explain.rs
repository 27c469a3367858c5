//! What an operator is to mend when a broker of AMQP 0.9.1 refuses.

use lapin::types::ShortString;
use lapin::{Error, ErrorKind};

/// What `error` means. What the broker says of it is told as it is.
pub(super) fn explain(error: &Error) -> String {
    let ErrorKind::ProtocolError(said) = error.kind() else {
        return match error.kind() {
            ErrorKind::InvalidProtocolVersion(version) => {
                format!("the broker speaks AMQP {version}, not 0.9.1: its scheme is another")
            }
            ErrorKind::ParsingError(_) => {
                "what answers there does not speak AMQP 0.9.1: mend the port, or the scheme, of \
                 the URL"
                    .to_owned()
            }
            ErrorKind::IOError(error) => error.to_string(),
            _ => error.to_string(),
        };
    };
    let (code, said) = (said.get_id(), said.get_message().as_str());
    let Some(hint) = hint(code, said) else { return format!("the broker says: {said}") };
    format!("the broker says: {said}: {hint}")
}

fn hint(code: u16, said: &str) -> Option<&'static str> {
    Some(match code {
        403 if said.contains("Login was refused") => "mend the name or the password in auth",
        403 if said.contains("exclusive") => {
            "until whoever reads it is gone; to share it, set the attribute exclusive to false"
        }
        403 => "give the user of auth that permission",
        404 if said.contains("exchange") => "make it, or mend the attribute exchange",
        404 => "make it, or mend the topic",
        530 if said.contains("not found") => "make it, or mend the path of the URL",
        530 => "let the user of auth into that virtual host",
        _ => return None,
    })
}

/// A name as AMQP 0.9.1 takes it, of at most 255 bytes; says what is too long.
pub(super) fn short(field: &str, text: &str) -> Result<ShortString, String> {
    let too_long = |_| format!("{field} has {} bytes; AMQP 0.9.1 takes 255 at most", text.len());
    ShortString::try_new(text).map_err(too_long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_says_comes_with_what_is_to_be_mended() {
        let rows = [
            (403, "ACCESS_REFUSED - Login was refused using PLAIN", "password"),
            (403, "ACCESS_REFUSED - write access to exchange 'x' refused", "permission"),
            (
                403,
                "ACCESS_REFUSED - queue 'x' in vhost '/' in exclusive use",
                "attribute exclusive",
            ),
            (404, "NOT_FOUND - no exchange 'x' in vhost '/'", "attribute exchange"),
            (404, "NOT_FOUND - no queue 'x' in vhost '/'", "topic"),
            (530, "NOT_ALLOWED - vhost x not found", "path"),
        ];
        for (code, said, mended) in rows {
            assert!(hint(code, said).unwrap().contains(mended), "{said}");
        }
        assert_eq!(hint(320, "CONNECTION_FORCED - broker forced connection closure"), None);
    }
}
