//! From a receipt or a refusal to a reason code: one table (MQTT 5.0 sections 3.4.2.1, 3.5.2.1).

use std::borrow::Cow;

use eg_event::{Receipt, Refusal, Status};

use crate::codec::Acknowledgement;

/// The message is accepted.
pub const SUCCESS: u8 = 0x00;
/// The message is accepted, and nobody subscribes to it.
pub const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
/// The packet identifier is not in use.
pub const PACKET_IDENTIFIER_NOT_FOUND: u8 = 0x92;
const NOT_AUTHORIZED: u8 = 0x87;
const QUOTA_EXCEEDED: u8 = 0x97;
const PAYLOAD_FORMAT_INVALID: u8 = 0x99;

/// What a client is told of a message; `is_heard`: an MQTT client subscribes to its topic.
#[must_use]
pub fn acknowledgement(answer: &Result<Receipt, Refusal>, is_heard: bool) -> Acknowledgement {
    match answer {
        Ok(receipt) => {
            let ignored = receipt.status() == Status::Ignored && !is_heard;
            let code = if ignored { NO_MATCHING_SUBSCRIBERS } else { SUCCESS };
            let mut properties = vec![
                ("id", receipt.id.as_ref().to_owned()),
                ("sequence", receipt.sequence.to_string()),
            ];
            if receipt.duplicate {
                properties.push(("duplicate", "true".to_owned()));
            }
            if receipt.held {
                properties.push(("status", receipt.status().as_str().to_owned()));
            }
            if let Some(deprecation) = &receipt.deprecation {
                properties.push(("deprecation", deprecation.since_text()));
                properties.push(("deprecated", deprecation.what.clone()));
                properties.extend(deprecation.sunset_text().map(|at| ("sunset", at)));
            }
            Acknowledgement { code, reason: None, properties }
        }
        Err(refusal) => refused(refusal),
    }
}

fn refused(refusal: &Refusal) -> Acknowledgement {
    let (code, retry_after) = match refusal {
        Refusal::Unauthenticated(_) | Refusal::Forbidden(_) => (NOT_AUTHORIZED, None),
        Refusal::Invalid(_) => (PAYLOAD_FORMAT_INVALID, None),
        Refusal::TooLarge { .. } => (QUOTA_EXCEEDED, None),
        // Too many events wait, or the disk is full or fails: there will be room again.
        Refusal::Busy { retry_after }
        | Refusal::Quota { retry_after, .. }
        | Refusal::Unavailable { retry_after, .. } => (QUOTA_EXCEEDED, Some(*retry_after)),
    };
    let retry_after = retry_after.map(|wait| ("retry-after", wait.as_secs().max(1).to_string()));
    Acknowledgement {
        code,
        reason: Some(Cow::Owned(refusal.to_string())),
        properties: retry_after.into_iter().collect(),
    }
}

/// PUBCOMP for a PUBREL whose packet identifier is, or is not, `known` as in use. A client that
/// resumes a session releases again what it has not seen released, which is no error (MQTT 5.0
/// section 3.7.2.1).
#[must_use]
pub fn released(known: bool, resumes: bool) -> Acknowledgement {
    let code = if known || resumes { SUCCESS } else { PACKET_IDENTIFIER_NOT_FOUND };
    Acknowledgement { code, reason: None, properties: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use eg_event::{InvalidInput, Sequence};

    #[test]
    fn a_release_of_nothing_is_an_error_unless_a_session_is_resumed() {
        let rows = [(true, false, 0), (true, true, 0), (false, true, 0), (false, false, 0x92)];
        for (known, resumes, code) in rows {
            assert_eq!(released(known, resumes).code, code, "{known} {resumes}");
        }
    }

    #[test]
    fn every_answer_has_its_code() {
        let receipt = |subscriptions, duplicate| Receipt {
            id: "1".into(),
            source: "/s".into(),
            sequence: Sequence(7),
            subscriptions,
            duplicate,
            held: false,
            deprecation: None,
        };
        let second = Duration::from_secs(1);
        let rows = [
            (Ok(receipt(1, false)), 0x00),
            (Ok(receipt(0, true)), 0x10),
            (Err(Refusal::Forbidden("no".into())), 0x87),
            (Err(Refusal::Unauthenticated("no".into())), 0x87),
            (Err(InvalidInput::new("id", "expected a text").into()), 0x99),
            (Err(Refusal::TooLarge { limit_bytes: 1 }), 0x97),
            (Err(Refusal::Busy { retry_after: second }), 0x97),
            (Err(Refusal::Unavailable { reason: "x".into(), retry_after: second }), 0x97),
        ];
        for (answer, code) in rows {
            let told = acknowledgement(&answer, false);
            assert_eq!(told.code, code, "{answer:?}");
            assert_eq!(told.reason.is_some(), answer.is_err(), "{answer:?}");
        }
        assert_eq!(acknowledgement(&Ok(receipt(0, false)), true).code, SUCCESS);
        let told = acknowledgement(&Ok(receipt(1, false)), false);
        assert_eq!(told.properties, [("id", "1".to_owned()), ("sequence", "7".to_owned())]);
    }
}
