//! What an operator is to make of a reason code (MQTT 5.0 section 2.4).

/// The code of MQTT 5 for a return code of CONNACK (MQTT 3.1.1 section 3.2.2.3).
pub(super) fn of_3_1_1(code: u8) -> u8 {
    match code {
        1 => 0x84,
        2 => 0x85,
        3 => 0x88,
        4 => 0x86,
        5 => 0x87,
        _ => 0x80,
    }
}

/// As [`words`], for who is not let in.
pub(super) fn of_connect(code: u8) -> String {
    match code {
        0x87 => "not authorized (0x87): mend auth.credential".to_owned(),
        code => words(code),
    }
}

/// The code in words, and what there is to mend.
pub(super) fn words(code: u8) -> String {
    let (name, mend) = match code {
        0x00 => ("normal disconnection", ""),
        0x80 => ("unspecified error", "the broker's log may say more"),
        0x81 => ("malformed packet", ""),
        0x82 => ("protocol error", ""),
        0x83 => ("implementation specific error", "the broker's log may say more"),
        0x84 => ("unsupported protocol version", "set attributes.protocolVersion"),
        0x85 => ("client identifier not valid", "set attributes.clientId"),
        0x86 => ("bad user name or password", "mend auth.credential"),
        0x87 => ("not authorized", "let the user of auth.credential do that on the broker"),
        0x88 => ("server unavailable", ""),
        0x89 => ("server busy", ""),
        0x8a => ("banned", ""),
        0x8b => ("server shutting down", ""),
        0x8c => ("bad authentication method", ""),
        0x8d => ("keep alive timeout", ""),
        0x8e => ("session taken over", "somebody else uses this attributes.clientId"),
        0x8f => ("topic filter invalid", "mend the topic"),
        0x90 => ("topic name invalid", "mend the topic"),
        0x93 => ("receive maximum exceeded", "lower attributes.maxInFlight"),
        0x94 => ("topic alias invalid", ""),
        0x95 => ("packet too large", "the broker takes smaller events only"),
        0x96 => ("message rate too high", "the broker limits how many events come a second"),
        0x97 => ("quota exceeded", "the broker has a limit that is reached"),
        0x98 => ("administrative action", ""),
        0x99 => ("payload format invalid", ""),
        0x9a => ("retain not supported", "leave attributes.retain out"),
        0x9b => ("QoS not supported", "set attributes.qos"),
        0x9c => ("use another server", "mend the URL"),
        0x9d => ("server moved", "mend the URL"),
        0x9e => ("shared subscriptions not supported", ""),
        0x9f => ("connection rate exceeded", ""),
        0xa0 => ("maximum connect time", ""),
        0xa1 => ("subscription identifiers not supported", ""),
        0xa2 => ("wildcard subscriptions not supported", ""),
        _ => ("unknown reason", ""),
    };
    let mend = if mend.is_empty() { String::new() } else { format!(": {mend}") };
    format!("{name} (0x{code:02x}){mend}")
}
