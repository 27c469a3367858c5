//! What holds for issued certificates, over a real store and a clock that is moved by hand.

use std::time::Duration;

use eg_auth::ClientCertificate;
use eg_certs::{Claim, generate};
use eg_event::Timestamp;
use eg_http::connector::{Connector as _, Refused};
use eg_storage::{StorageConfig, Store};

use super::*;

struct Bench {
    clock: Clock,
    live: Live,
    store: Store,
    data: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let clock = Clock::by_hand(Timestamp::parse_rfc3339("2030-01-01T00:00:00Z").unwrap());
        let data = tempfile::tempdir().unwrap();
        AuthorityDirectory::in_data(data.path()).create(&[], clock.now()).unwrap();
        let store = Store::open(data.path(), &StorageConfig::default(), &clock).unwrap();
        Self { clock, live: Live::default(), store, data }
    }

    fn open(&self, config: &CertificatesConfig) -> Arc<Certificates> {
        let handles = (self.live.clone(), self.clock.clone());
        let ledger = self.store.ledger().clone();
        Certificates::open(config, self.data.path(), ledger, handles).unwrap()
    }
}

fn subject() -> Subject {
    Subject::parse("O=blue,CN=shop").unwrap()
}

async fn issue(certificates: &Certificates) -> Result<Issued, CertificateError> {
    let request = SigningRequest::parse(generate(&subject()).unwrap().1.as_bytes()).unwrap();
    let origin = Origin::Operator;
    let wanted = Wanted { subject: subject(), names: Vec::new(), validity_days: Some(1), origin };
    certificates.issue(wanted, &request).await
}

fn read(issued: &Issued) -> ClientCertificate {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let der = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    ClientCertificate::parse(&der).unwrap()
}

#[tokio::test]
async fn a_revocation_is_written_down_acts_on_live_connections_and_is_made_once() {
    let bench = Bench::new();
    let certificates = bench.open(&CertificatesConfig::default());
    let issued = issue(&certificates).await.unwrap();
    let certificate = read(&issued);
    assert_eq!(issued.record.credential(), certificate.credential_id());
    let presence = bench.live.enter(certificate.credential_id());
    let serial = &issued.record.serial;
    let revoked = certificates.revoke(serial, "lost").await.unwrap();
    assert!(presence.token().is_cancelled());
    bench.clock.advance(Duration::from_mins(1));
    assert_eq!(certificates.revoke(serial, "again").await.unwrap(), revoked, "it stays as it is");

    let again = bench.open(&CertificatesConfig::default());
    assert_eq!(again.all(), [revoked]);
    let name = again.authority().unwrap().name_of(serial).unwrap();
    assert!(again.revocations().concern(&[name]), "also after a restart");
    let unknown = again.revoke(&Serial::random().unwrap(), "").await;
    assert!(matches!(unknown, Err(CertificateError::NotFound(_))));
}

#[tokio::test]
async fn a_revoked_certificate_is_not_renewed() {
    let bench = Bench::new();
    let certificates = bench.open(&CertificatesConfig::default());
    let issued = issue(&certificates).await.unwrap();
    let desk = Desk::new(Arc::clone(&certificates), "https://gateway.example".to_owned());
    let certificate = read(&issued);
    let (_, csr) = generate(&subject()).unwrap();
    let renewed = desk.renew(&certificate, csr.as_bytes()).await;
    assert!(renewed.is_ok());
    certificates.revoke(&issued.record.serial, "lost").await.unwrap();
    assert_eq!(desk.renew(&certificate, csr.as_bytes()).await, Err(Refused::Revoked));
    assert_eq!(desk.identify(&certificate).unwrap_err(), Refused::Revoked);
    assert_eq!(desk.revoke(&certificate).await, Err(Refused::Revoked));
}

#[tokio::test]
async fn a_certificate_with_a_known_number_and_other_bytes_is_a_strangers() {
    let bench = Bench::new();
    let certificates = bench.open(&CertificatesConfig::default());
    let (one, other) =
        (read(&issue(&certificates).await.unwrap()), read(&issue(&certificates).await.unwrap()));
    let forged = ClientCertificate { serial: one.serial, ..other };
    let desk = Desk::new(certificates, String::new());
    assert_eq!(desk.identify(&forged).unwrap_err(), Refused::Stranger);
}

#[tokio::test]
async fn there_are_never_more_records_than_allowed_and_expired_ones_make_room() {
    let bench = Bench::new();
    let config = CertificatesConfig { issued_max: 2, ..CertificatesConfig::default() };
    let certificates = bench.open(&config);
    for _ in 0..2 {
        issue(&certificates).await.unwrap();
    }
    assert!(matches!(issue(&certificates).await, Err(CertificateError::TooMany(2))));
    bench.clock.advance(Duration::from_hours(25));
    let issued = issue(&certificates).await.unwrap();
    let left = bench.open(&config).all();
    assert_eq!(left, [issued.record], "on the disk too");
}

#[tokio::test]
async fn an_application_is_told_its_own_subject() {
    let bench = Bench::new();
    let certificates = bench.open(&CertificatesConfig::default());
    let desk = Desk::new(certificates, "https://gateway.example".to_owned());
    let claim = |application: &str, tenant: &str| Claim {
        application: application.to_owned(),
        tenant: tenant.to_owned(),
        group: String::new(),
    };
    let invite = desk.create_token(claim("shop", "blue")).unwrap();
    assert!(invite.url.starts_with("https://gateway.example/v1/applications/"), "{}", invite.url);
    let invitation = desk.invite(&invite.token).unwrap();
    let expected = "OU=OrgUnit,O=blue,L=Waldorf,ST=Waldorf,C=DE,CN=shop";
    assert_eq!(invitation.holder.subject, expected);
    assert_eq!((&*invitation.holder.tenant, &*invitation.holder.group), ("blue", ""));
    assert_eq!(desk.invite(&invite.token), Err(Refused::Token));
    for (application, tenant) in [("", ""), ("a b", ""), ("a,O=b", ""), ("shop", "a,CN=b")] {
        assert!(desk.create_token(claim(application, tenant)).is_err(), "{application} {tenant}");
    }
}

#[tokio::test]
async fn without_an_authority_nothing_is_issued() {
    let clock = Clock::system();
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path(), &StorageConfig::default(), &clock).unwrap();
    let config = CertificatesConfig::default();
    let handles = (Live::default(), clock);
    let opened = Certificates::open(&config, data.path(), store.ledger().clone(), handles);
    let certificates = opened.unwrap();
    assert!(matches!(issue(&certificates).await, Err(CertificateError::NoAuthority)));
}
