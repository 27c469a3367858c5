//! Who is at the other end of a connection, as far as the connection itself tells.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use eg_event::{CredentialId, Timestamp};
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, RelativeDistinguishedName, X509Name};

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// The certificate that the peer proved to hold during the TLS handshake.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The connection is encrypted.
    pub is_encrypted: bool,
    /// A browser asks, for a page that is not of this machine.
    is_for_page: bool,
}

impl Peer {
    /// A peer of which no more than the address is known.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, certificate: None, is_encrypted: false, is_for_page: false }
    }

    /// A peer that proved to hold `certificate`.
    #[must_use]
    pub fn with_certificate(address: SocketAddr, certificate: Arc<ClientCertificate>) -> Self {
        Self { certificate: Some(certificate), ..Self::new(address).over_tls() }
    }

    /// The same, over an encrypted connection.
    #[must_use]
    pub fn over_tls(mut self) -> Self {
        self.is_encrypted = true;
        self
    }

    /// What counts as one address: an IPv6 network does, because one machine has all of it.
    #[must_use]
    pub fn network(&self) -> IpAddr {
        match self.address.ip().to_canonical() {
            IpAddr::V6(address) => {
                let prefix = u128::from(address) & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from(prefix))
            }
            address @ IpAddr::V4(_) => address,
        }
    }

    /// The same, when a browser asks for a page that is not of this machine: who the page is of is
    /// not who sits before it, and what only people on this machine may do is not done for it.
    #[must_use]
    pub fn for_page(mut self) -> Self {
        self.is_for_page = true;
        self
    }

    /// Whether the connection comes from this machine, and is made for it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        !self.is_for_page && self.address.ip().to_canonical().is_loopback()
    }
}

/// What a certificate (RFC 5280) says about who holds it. Its chain has been verified already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The SHA-256 digest of the certificate: what `x5t#S256` names (RFC 8705 section 3.1).
    pub thumbprint: Thumbprint,
    /// The serial number in lower-case hexadecimal digits.
    pub serial: String,
    /// The issuer, as RFC 4514 writes a name.
    pub issuer: String,
    /// The subject, as RFC 4514 writes a name.
    pub subject: String,
    /// The subject's common name.
    pub common_name: Option<String>,
    /// The subject's organizations.
    pub organizations: Vec<String>,
    /// The subject's organizational units.
    pub organizational_units: Vec<String>,
    /// The alternative names that are host names.
    pub dns_names: Vec<String>,
    /// The alternative names that are URIs.
    pub uris: Vec<String>,
    /// The alternative names that are mail addresses.
    pub emails: Vec<String>,
    /// The alternative names that are IP addresses.
    pub addresses: Vec<IpAddr>,
    /// When it stops being valid.
    pub not_after: Timestamp,
}

/// The bytes are not a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an X.509 certificate: {0}")]
pub struct InvalidCertificate(String);

impl ClientCertificate {
    /// Reads a certificate in DER.
    pub fn parse(der: &[u8]) -> Result<Self, InvalidCertificate> {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| InvalidCertificate(error.to_string()))?;
        let subject = certificate.subject();
        let seconds = certificate.validity().not_after.timestamp();
        let micros = u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000);
        let mut parsed = Self {
            thumbprint: Thumbprint::of(der),
            serial: format!("{:x}", certificate.tbs_certificate.serial),
            issuer: written(certificate.issuer()),
            subject: written(subject),
            common_name: texts(subject.iter_common_name()).next(),
            organizations: texts(subject.iter_organization()).collect(),
            organizational_units: texts(subject.iter_organizational_unit()).collect(),
            dns_names: Vec::new(),
            uris: Vec::new(),
            emails: Vec::new(),
            addresses: Vec::new(),
            not_after: Timestamp::from_micros(micros),
        };
        let alternative = certificate
            .subject_alternative_name()
            .map_err(|error| InvalidCertificate(error.to_string()))?;
        for name in alternative.iter().flat_map(|names| &names.value.general_names) {
            parsed.add(name);
        }
        Ok(parsed)
    }

    /// The credential that rests on this certificate.
    #[must_use]
    pub fn credential_id(&self) -> CredentialId {
        CredentialId::new(format!("certificate:{}", self.thumbprint))
    }

    fn add(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::URI(name) => self.uris.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.emails.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let sixteen = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
                self.addresses.extend(four.or(sixteen));
            }
            _ => {}
        }
    }
}

/// A name as RFC 4514 writes it, but in the order of the certificate: no value can pass for
/// several.
fn written(name: &X509Name<'_>) -> String {
    let attribute = |attribute: &AttributeTypeAndValue<'_>| {
        let kind = oid2abbrev(attribute.attr_type(), oid_registry()).map(str::to_owned);
        let kind = kind.unwrap_or_else(|_| attribute.attr_type().to_id_string());
        let digits = || attribute.as_slice().iter().map(|byte| format!("{byte:02x}"));
        let value = attribute.as_str().map(escaped);
        let value = value.unwrap_or_else(|_| format!("#{}", digits().collect::<String>()));
        format!("{kind}={value}")
    };
    let part = |part: &RelativeDistinguishedName<'_>| {
        part.iter().map(attribute).collect::<Vec<_>>().join(" + ")
    };
    name.iter_rdn().map(part).collect::<Vec<_>>().join(", ")
}

/// RFC 4514 section 2.4.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut escaped = String::with_capacity(value.len());
    for (index, character) in value.chars().enumerate() {
        let is_edge =
            (index == 0 && matches!(character, ' ' | '#')) || (index == last && character == ' ');
        if character.is_control() {
            let mut bytes = [0; 4];
            let bytes = character.encode_utf8(&mut bytes).bytes();
            escaped.extend(bytes.map(|byte| format!("\\{byte:02x}")));
            continue;
        }
        if is_edge || "\"+,;<=>\\".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

fn texts<'a>(
    attributes: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>,
) -> impl Iterator<Item = String> {
    attributes.filter_map(|attribute| attribute.as_str().ok().map(str::to_owned))
}

/// The SHA-256 digest of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// The digest of `der`.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// The digest's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Thumbprint {
    fn from(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl fmt::Display for Thumbprint {
    /// In lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, SerialNumber, date_time_ymd};

    use super::*;

    fn certificate() -> Vec<u8> {
        let mut params = CertificateParams::new(["press.example".to_owned()]).unwrap();
        let names = &mut params.distinguished_name;
        names.push(DnType::CommonName, "press-1");
        names.push(DnType::OrganizationName, "Works");
        names.push(DnType::OrganizationalUnitName, "Plant");
        for name in [
            SanType::URI("urn:press:1".try_into().unwrap()),
            SanType::Rfc822Name("ops@example.com".try_into().unwrap()),
            SanType::IpAddress([192, 0, 2, 1].into()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
        ] {
            params.subject_alt_names.push(name);
        }
        params.serial_number = Some(SerialNumber::from_slice(&[0x0a, 0xbc]));
        params.not_after = date_time_ymd(2040, 2, 3);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_says_who_holds_it() {
        let der = certificate();
        let read = ClientCertificate::parse(&der).unwrap();
        assert_eq!(read.common_name.as_deref(), Some("press-1"));
        assert_eq!(
            (read.organizations, read.organizational_units),
            (vec!["Works".to_owned()], vec!["Plant".to_owned()])
        );
        assert_eq!(read.dns_names, ["press.example"]);
        assert_eq!(read.uris, ["urn:press:1"]);
        assert_eq!(read.emails, ["ops@example.com"]);
        let addresses: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(read.addresses, addresses);
        assert_eq!(read.serial, "abc");
        assert_eq!(read.not_after.to_string(), "2040-02-03T00:00:00.000000Z");
        assert_eq!(read.subject, read.issuer);
        assert!(read.subject.contains("CN=press-1"), "{}", read.subject);
    }

    #[test]
    fn a_value_in_a_subject_cannot_pass_for_several() {
        let subject = |names: &[(DnType, &str)]| {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            for (kind, value) in names {
                params.distinguished_name.push(kind.clone(), *value);
            }
            let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            ClientCertificate::parse(signed.der()).unwrap().subject
        };
        let (name, organization) = (DnType::CommonName, DnType::OrganizationName);
        let honest = subject(&[(name.clone(), "press"), (organization, "Works")]);
        assert_eq!(honest, "CN=press, O=Works");
        let sly = subject(&[(name.clone(), "press, O=Works")]);
        assert_eq!(sly, "CN=press\\, O\\=Works");
        assert_eq!(subject(&[(name, " #a+b\n ")]), "CN=\\ #a\\+b\\0a\\ ");
    }

    #[test]
    fn its_credential_is_the_digest_of_all_its_bytes() {
        let (one, other) = (certificate(), certificate());
        let id = |der: &[u8]| ClientCertificate::parse(der).unwrap().credential_id();
        assert_eq!(id(&one), id(&one));
        assert_ne!(id(&one), id(&other), "the same names with another key");
        let digits = id(&one).as_str().strip_prefix("certificate:").unwrap().to_owned();
        assert_eq!(digits, Thumbprint::of(&one).to_string());
        assert!(
            digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        );
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let der = certificate();
        for bytes in [&b""[..], b"\x30", &der[..der.len() / 2], &[0x30; 100]] {
            assert!(ClientCertificate::parse(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn this_machine_is_known_in_every_notation() {
        for (address, expected) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("192.0.2.1:1", false),
            ("[::ffff:192.0.2.1]:1", false),
        ] {
            assert_eq!(Peer::new(address.parse().unwrap()).is_loopback(), expected, "{address}");
        }
    }
}
