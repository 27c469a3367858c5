//! Any text as an event or a batch: read or refused; what is read is written the same again.
#![no_main]

use bytes::Bytes;
use eg_event::{header, json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let text = Bytes::copy_from_slice(input);
    if let Ok(event) = json::decode(&text) {
        let mut written = Vec::new();
        json::encode(&event, &mut written);
        let again = json::decode(&Bytes::from(written)).expect("what was written can be read");
        assert_eq!(again, event);
    }
    drop(json::decode_batch(&text, 16));
    if let Ok(value) = header::decode(input) {
        let encoded = header::encode(&value);
        assert_eq!(header::decode(encoded.as_bytes()).as_deref(), Ok(&*value));
    }
});
