//! What has been revoked: by the gateway's own authority, and by the lists (CRL, RFC 5280 section 5)
//! of others.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use arc_swap::ArcSwap;
use eg_event::Timestamp;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use crate::serial::Serial;

/// Names one certificate as lists of revoked ones do: by its issuer and its number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateName {
    /// The issuer's name in DER.
    issuer: Box<[u8]>,
    serial: Serial,
}

impl CertificateName {
    pub(crate) fn new(issuer: &[u8], serial: &[u8]) -> Self {
        Self { issuer: issuer.into(), serial: Serial::from_bytes(serial) }
    }

    /// The names of a chain's certificates; what cannot be read is left out.
    #[must_use]
    pub fn of_chain(chain: &[CertificateDer<'_>]) -> Vec<Self> {
        let name = |der: &CertificateDer<'_>| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            Some(Self::new(certificate.issuer().as_raw(), certificate.raw_serial()))
        };
        chain.iter().filter_map(name).collect()
    }
}

/// A certificate that the gateway's own authority has revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Its number.
    pub serial: Serial,
    /// When.
    pub at: Timestamp,
}

/// What counts as revoked now. It is asked at every handshake, and changed while it is asked.
#[derive(Debug, Default)]
pub struct Revocations {
    own: Mutex<HashSet<CertificateName>>,
    listed: Mutex<HashSet<CertificateName>>,
    all: ArcSwap<HashSet<CertificateName>>,
}

impl Revocations {
    /// Whether any certificate of a chain has been revoked.
    #[must_use]
    pub fn concern(&self, chain: &[CertificateName]) -> bool {
        let all = self.all.load();
        !all.is_empty() && chain.iter().any(|name| all.contains(name))
    }

    /// Revokes certificates of the gateway's own authority, from now on.
    pub fn revoke(&self, names: impl IntoIterator<Item = CertificateName>) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.extend(names);
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        self.all.store(own.union(&listed).cloned().collect::<HashSet<_>>().into());
    }

    /// Replaces what the lists of others revoke.
    pub(crate) fn set_listed(&self, names: HashSet<CertificateName>) {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        *listed = names;
        self.all.store(own.union(&listed).cloned().collect::<HashSet<_>>().into());
    }
}

/// What a list of revoked certificates says.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) issuer: String,
    pub(crate) revoked: HashSet<CertificateName>,
    /// When the next one is due.
    pub(crate) next_update: Option<Timestamp>,
}

impl List {
    /// Reads a list in DER. Where its issuer is among `authorities`, its signature has to be that
    /// one's.
    pub(crate) fn read(der: &[u8], authorities: &[CertificateDer<'_>]) -> Result<Self, String> {
        let (_, list) = CertificateRevocationList::from_der(der).map_err(|e| e.to_string())?;
        let mut named = BTreeMap::new();
        for authority in authorities {
            if let Ok((_, authority)) = X509Certificate::from_der(authority)
                && authority.subject().as_raw() == list.issuer().as_raw()
            {
                let fits = list.verify_signature(authority.public_key()).is_ok();
                named.insert(authority.raw_serial().to_vec(), fits);
            }
        }
        if !named.is_empty() && !named.values().any(|fits| *fits) {
            return Err(format!("not signed by {}, which it names", list.issuer()));
        }
        let issuer = list.issuer().as_raw();
        let name = |revoked: &x509_parser::revocation_list::RevokedCertificate<'_>| {
            CertificateName::new(issuer, revoked.raw_serial())
        };
        let next_update = list.next_update().map(|at| crate::authority::instant(at.timestamp()));
        Ok(Self {
            issuer: list.issuer().to_string(),
            revoked: list.iter_revoked_certificates().map(name).collect(),
            next_update,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_new_list_leaves_out_is_good_again_and_what_was_revoked_here_is_not() {
        let revocations = Revocations::default();
        let [own, listed] = [1, 2].map(|number| CertificateName::new(b"issuer", &[number]));
        assert!(!revocations.concern(&[own.clone(), listed.clone()]));
        revocations.revoke([own.clone()]);
        revocations.set_listed([listed.clone()].into());
        let concern = |name: &CertificateName| revocations.concern(std::slice::from_ref(name));
        assert!(concern(&own) && concern(&listed));
        let other = CertificateName::new(b"another issuer", &[1]);
        assert!(!concern(&other), "numbers are an issuer's own");
        assert!(revocations.concern(&[other, listed.clone()]), "any of a chain counts");
        revocations.set_listed(HashSet::new());
        assert!(concern(&own) && !concern(&listed));
    }
}
