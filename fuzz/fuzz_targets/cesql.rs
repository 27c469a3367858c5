//! Any text as an expression: parsed or refused, and what is parsed has a value for every event.
#![no_main]

use bytes::Bytes;
use eg_event::cesql::Expression;
use eg_event::json;
use libfuzzer_sys::fuzz_target;

const EVENT: &[u8] = br#"{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"a%b_c","n":-2147483648,"b":true,"text":"12"}"#;

fuzz_target!(|input: &[u8]| {
    let Ok(source) = std::str::from_utf8(input) else { return };
    let Ok(expression) = Expression::parse(source) else { return };
    let event = json::decode(&Bytes::from_static(EVENT)).expect("the event is right");
    drop(expression.evaluate(&event));
    assert!(matches!(expression.lets_pass(&event), true | false));
    drop(expression.check_functions());
});
