//! The will of an MQTT client as a document of the ledger.

use bytes::Bytes;
use eg_event::{Sequence, StoredEvent};

use crate::record::{self, Parts};
use crate::varint::{Damaged, Reader, put};

/// The kind of the documents that are wills; their names are numbers, in hexadecimal.
pub(crate) const WILL: &str = "mqtt-will";
/// The version of the layout.
const VERSION: u8 = 1;

/// What is to be published when a client is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredWill {
    /// How long after the loss, in seconds.
    pub wait_s: u32,
    /// The identifier of the event was made for it.
    pub id_assigned: bool,
    /// On whose behalf, as `auth` wrote it down.
    pub principal: Bytes,
    /// The event; its sequence and its time are not known yet.
    pub event: StoredEvent,
}

impl StoredWill {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, u8::from(self.id_assigned)];
        put(&mut out, self.wait_s.into());
        put(&mut out, self.principal.len() as u64);
        out.extend_from_slice(&self.principal);
        record::encode(&Parts::of(&self.event), &mut out);
        out
    }

    pub(crate) fn decode(value: Bytes) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value);
        if reader.u8()? != VERSION {
            return Err(Damaged("a will has an unknown version"));
        }
        let id_assigned = reader.u8()? != 0;
        let wait_s =
            u32::try_from(reader.varint()?).map_err(|_| Damaged("a will waits too long"))?;
        let length = reader.length()?;
        let principal = reader.bytes(length)?;
        let event = record::decode(Sequence::default(), reader.rest())?;
        Ok(Self { wait_s, id_assigned, principal, event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::full;

    #[test]
    fn a_will_reads_back_as_it_was() {
        let principal = Bytes::from_static(b"{}");
        let event = full(0);
        let will = StoredWill { wait_s: 300, id_assigned: true, principal, event };
        assert_eq!(StoredWill::decode(will.encode().into()), Ok(will));
        assert!(StoredWill::decode(Bytes::from_static(&[9])).is_err());
    }
}
