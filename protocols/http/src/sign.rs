//! Signatures of deliveries (Standard Webhooks 1.0.0), so that a receiver can tell that an event
//! comes from this gateway and is as it was sent.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eg_event::Timestamp;
use eg_event::subscription::SigningSecret;

/// What a signature covers: `id.timestamp.body`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    /// The header `webhook-id`: the same on every attempt, and without a full stop.
    pub(crate) id: &'a str,
    /// The header `webhook-timestamp`: when this attempt is made.
    pub(crate) at: Timestamp,
    /// The body as sent.
    pub(crate) body: &'a [u8],
}

/// The value of `webhook-signature`: one signature for each secret, separated by spaces, so that a
/// receiver can move from an old secret to a new one.
pub(crate) fn signature(secrets: &[SigningSecret], signed: Signed<'_>) -> String {
    let mut signatures = String::with_capacity(secrets.len() * 48);
    for secret in secrets {
        let mut context =
            hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &secret.key()));
        let at = signed.at.as_secs().to_string();
        for part in [signed.id.as_bytes(), b".", at.as_bytes(), b".", signed.body] {
            context.update(part);
        }
        if !signatures.is_empty() {
            signatures.push(' ');
        }
        signatures.push_str("v1,");
        BASE64.encode_string(context.sign(), &mut signatures);
    }
    signatures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_of_the_standard() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = Signed {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            at: Timestamp::from_micros(1_614_265_330_999_999),
            body: br#"{"test": 2432232314}"#,
        };
        let one = signature(std::slice::from_ref(&secret), signed);
        assert_eq!(one, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let both = signature(&[secret.clone(), secret], signed);
        assert_eq!(both, format!("{one} {one}"));
    }
}
