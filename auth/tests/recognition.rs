//! Senders are recognized by the methods that are configured, and the configuration may change.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop here")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use eg_auth::{
    AuthConfig, Authenticate as _, Authenticator, CertificatesConfig, ClientCertificate,
    Credential, NewCredential, Peer, SecretKind, StoredCredential, Surroundings, Unauthenticated,
};
use eg_event::principal::Method;
use eg_event::{Clock, Principal, Timestamp};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// When the clocks of these tests stand, in seconds.
const NOW: u64 = 1_000_000;

/// Somebody who signs tokens and shows the key.
struct Issuer {
    url: String,
    pair: Ed25519KeyPair,
    fetched: Arc<AtomicUsize>,
}

/// A server that answers every request with `body`, and counts; gives back its URL.
async fn answering(counted: Arc<AtomicUsize>, body: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            drop(stream.read(&mut request).await);
            counted.fetch_add(1, Ordering::SeqCst);
            let body = body.to_string();
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close");
            drop(stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await);
        }
    });
    url
}

impl Issuer {
    async fn start() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public = BASE64URL.encode(pair.public_key());
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": public }] });
        let fetched = Arc::new(AtomicUsize::new(0));
        let url = answering(Arc::clone(&fetched), keys).await;
        Self { url, pair, fetched }
    }

    fn token(&self, claims: Value) -> Credential {
        let mut payload = json!({
            "iss": self.url, "aud": "events", "sub": "device", "exp": NOW + 3600,
        });
        let (Value::Object(all), Value::Object(claims)) = (&mut payload, claims) else { panic!() };
        all.extend(claims);
        let header = json!({ "alg": "EdDSA", "kid": "k", "typ": "at+jwt" });
        let encode = |part: &Value| BASE64URL.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&payload));
        let signature = BASE64URL.encode(self.pair.sign(signed.as_bytes()));
        Credential::Bearer(format!("{signed}.{signature}"))
    }

    fn config(&self) -> AuthConfig {
        let issuer = json!({
            "issuer": self.url, "audiences": ["events"], "jwks_uri": format!("{}/jwks", self.url),
            "keys_fresh_seconds": 10, "keys_stale_seconds_max": 100,
        });
        AuthConfig {
            issuers: vec![serde_json::from_value(issuer).unwrap()],
            ..AuthConfig::default()
        }
    }

    fn fetched(&self) -> usize {
        self.fetched.load(Ordering::SeqCst)
    }
}

fn clock() -> Clock {
    Clock::by_hand(Timestamp::from_micros(NOW * 1_000_000))
}

fn authenticator(config: &AuthConfig, clock: &Clock) -> Authenticator {
    let surroundings = Surroundings { clock: clock.clone(), ..Surroundings::default() };
    Authenticator::new(config, surroundings).unwrap()
}

fn address() -> SocketAddr {
    ([192, 0, 2, 1], 4000).into()
}

fn certificate() -> Arc<ClientCertificate> {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "plant");
    let signed = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    Arc::new(ClientCertificate::parse(signed.der()).unwrap())
}

async fn recognize(
    authenticator: &Authenticator,
    credential: &Credential,
    peer: &Peer,
) -> Result<Arc<Principal>, String> {
    authenticator.authenticate(credential, peer).await.map_err(|why| why.to_string())
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_certificate_is_good_with_it_alone_each_time() {
    let issuer = Issuer::start().await;
    let authenticator = authenticator(&issuer.config(), &clock());
    let (own, other) = (certificate(), certificate());
    let thumbprint = BASE64URL.encode(own.thumbprint.as_bytes());
    let token = issuer.token(json!({ "cnf": { "x5t#S256": thumbprint } }));
    for _ in 0..2 {
        let peer = Peer::with_certificate(address(), Arc::clone(&own));
        let principal = recognize(&authenticator, &token, &peer).await.unwrap();
        assert!(principal.credential().unwrap().as_str().starts_with("token:"));
        let peer = Peer::with_certificate(address(), Arc::clone(&other));
        let refused = recognize(&authenticator, &token, &peer).await.unwrap_err();
        assert_eq!(refused, "cnf: the token is bound to another certificate");
        let refused = recognize(&authenticator, &token, &Peer::new(address())).await.unwrap_err();
        assert!(refused.starts_with("cnf: the token is bound to a certificate"), "{refused}");
    }
    assert_eq!(issuer.fetched(), 1);
}

#[tokio::test]
async fn a_token_says_who_is_asking_whatever_certificate_there_is() {
    let issuer = Issuer::start().await;
    let authenticator = authenticator(&issuer.config(), &clock());
    let peer = Peer::with_certificate(address(), certificate());
    let principal = recognize(&authenticator, &issuer.token(json!({})), &peer).await.unwrap();
    assert_eq!((principal.name(), principal.method()), ("device", Method::Bearer));
    let principal = recognize(&authenticator, &Credential::None, &peer).await.unwrap();
    assert_eq!((principal.name(), principal.method()), ("plant", Method::Certificate));
    let Credential::Bearer(mut broken) = issuer.token(json!({})) else { panic!() };
    broken.truncate(broken.len() - 4);
    let refused = recognize(&authenticator, &Credential::Bearer(broken), &peer).await;
    assert!(refused.unwrap_err().starts_with("signature: "), "the certificate is no way out");
}

#[tokio::test]
async fn a_certificate_alone_says_who_is_asking_unless_that_is_forbidden() {
    let certificates = CertificatesConfig { identify: false, ..CertificatesConfig::default() };
    let config = AuthConfig { certificates, ..AuthConfig::default() };
    let peer = Peer::with_certificate(address(), certificate());
    let forbidding = authenticator(&config, &clock());
    let answer = forbidding.authenticate(&Credential::None, &peer).await;
    assert_eq!(answer.unwrap_err(), Unauthenticated::Missing);
    forbidding.reload(&AuthConfig::default()).unwrap();
    assert!(recognize(&forbidding, &Credential::None, &peer).await.is_ok());
}

#[tokio::test]
async fn issuers_come_and_go_with_the_configuration_and_those_that_stay_keep_their_keys() {
    let (first, second) = (Issuer::start().await, Issuer::start().await);
    let authenticator = authenticator(&first.config(), &clock());
    let peer = Peer::new(address());
    let (of_first, of_second) = (first.token(json!({})), second.token(json!({})));
    assert!(recognize(&authenticator, &of_first, &peer).await.is_ok());
    let refused = recognize(&authenticator, &of_second, &peer).await.unwrap_err();
    assert!(refused.starts_with("iss: "), "{refused}");

    let mut both = first.config();
    both.issuers.extend(second.config().issuers);
    authenticator.reload(&both).unwrap();
    for token in [&of_first, &of_second] {
        assert!(recognize(&authenticator, token, &peer).await.is_ok());
    }
    assert_eq!((first.fetched(), second.fetched()), (1, 1));

    authenticator.reload(&second.config()).unwrap();
    let refused = recognize(&authenticator, &of_first, &peer).await.unwrap_err();
    assert!(refused.starts_with("iss: "), "what was remembered is forgotten: {refused}");
    assert!(recognize(&authenticator, &of_second, &peer).await.is_ok());
}

#[tokio::test]
async fn a_key_is_checked_and_whoever_guesses_is_not_let_off_by_a_reload() {
    let clock = clock();
    let (config, peer) = (AuthConfig::default(), Peer::new(address()));
    let authenticator = authenticator(&config, &clock);
    let new = NewCredential {
        name: "press".to_owned(),
        kind: SecretKind::ApiKey,
        application: None,
        roles: ["device".to_owned()].into(),
        expires_at: Some(Timestamp::from_micros((NOW + 60) * 1_000_000)),
    };
    let (stored, secret) = StoredCredential::make(new, clock.now()).unwrap();
    let stored = Arc::new(stored);
    authenticator.replace_credentials([Arc::clone(&stored)]);
    let key = Credential::Bearer(secret.expose().to_owned());
    for _ in 0..2 {
        let principal = recognize(&authenticator, &key, &peer).await.unwrap();
        assert_eq!((principal.name(), principal.method()), ("press", Method::ApiKey));
    }
    let guess = Credential::Bearer(format!("egk_{}_guess", stored.id));
    for _ in 0..config.failures_max {
        let refused = recognize(&authenticator, &guess, &peer).await.unwrap_err();
        assert_eq!(refused, "the name and the secret do not belong together");
    }
    authenticator.reload(&config).unwrap();
    let answer = authenticator.authenticate(&key, &peer).await.unwrap_err();
    assert!(matches!(answer, Unauthenticated::LockedOut { .. }), "{answer}");
    clock.advance(Duration::from_secs(1));
    assert!(recognize(&authenticator, &key, &peer).await.is_ok());
    clock.advance(Duration::from_mins(1));
    let answer = authenticator.authenticate(&key, &peer).await.unwrap_err();
    assert!(matches!(answer, Unauthenticated::Expired(_)), "what is remembered expires too");
    authenticator.replace_credentials([]);
    let answer = authenticator.authenticate(&key, &peer).await.unwrap_err();
    assert_eq!(answer, Unauthenticated::UnknownMethod);
}

#[tokio::test]
async fn an_address_that_guesses_many_names_costs_nothing_any_more_and_known_keys_go_on() {
    let clock = clock();
    let config = AuthConfig { failures_per_address_max: 3, ..AuthConfig::default() };
    let authenticator = authenticator(&config, &clock);
    let make = |name: &str| {
        let (kind, name) = (SecretKind::Password, name.to_owned());
        let (application, roles, expires_at) = (None, [].into(), None);
        let new = NewCredential { name: name.clone(), kind, application, roles, expires_at };
        let (stored, secret) = StoredCredential::make(new, clock.now()).unwrap();
        let password = secret.expose().as_bytes().to_vec();
        (Arc::new(stored), Credential::Basic { name, password })
    };
    let ((press, known), (oven, unknown)) = (make("press"), make("oven"));
    authenticator.replace_credentials([press, oven]);
    let peer = Peer::new(address());
    assert!(recognize(&authenticator, &known, &peer).await.is_ok());
    for number in 0..3 {
        let guess = Credential::Basic { name: format!("g{number}"), password: b"guess".to_vec() };
        assert!(recognize(&authenticator, &guess, &peer).await.is_err());
    }
    let answer = authenticator.authenticate(&unknown, &peer).await.unwrap_err();
    assert!(matches!(answer, Unauthenticated::LockedOut { .. }), "{answer}");
    assert!(recognize(&authenticator, &known, &peer).await.is_ok(), "it has held before");
    let elsewhere = Peer::new(([192, 0, 2, 2], 4000).into());
    assert!(recognize(&authenticator, &unknown, &elsewhere).await.is_ok());
    clock.advance(Duration::from_secs(1));
    assert!(recognize(&authenticator, &unknown, &peer).await.is_ok());
}

#[tokio::test]
async fn an_address_whose_opaque_tokens_nobody_knows_may_not_go_on_having_them_looked_up() {
    let asked = Arc::new(AtomicUsize::new(0));
    let url = answering(Arc::clone(&asked), json!({ "active": false })).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, "secret").unwrap();
    let issuer = json!({
        "issuer": url, "audiences": ["events"],
        "introspection": { "url": url, "client_id": "gateway", "client_secret_file": file },
    });
    let config = AuthConfig {
        issuers: vec![serde_json::from_value(issuer).unwrap()],
        failures_per_address_max: 3,
        ..AuthConfig::default()
    };
    let authenticator = authenticator(&config, &clock());
    let token = |number: usize| Credential::Bearer(format!("opaque{number}"));
    let (here, elsewhere) = (Peer::new(address()), Peer::new(([192, 0, 2, 2], 4000).into()));
    for number in [0, 0, 1, 2] {
        let answer = authenticator.authenticate(&token(number), &here).await.unwrap_err();
        assert_eq!(answer, Unauthenticated::Invalid("token: it is not active".to_owned()));
    }
    for number in 3..10 {
        let answer = authenticator.authenticate(&token(number), &here).await.unwrap_err();
        assert!(matches!(answer, Unauthenticated::LockedOut { .. }), "{answer}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    let answer = authenticator.authenticate(&token(3), &elsewhere).await.unwrap_err();
    assert!(matches!(answer, Unauthenticated::Invalid(_)), "others are heard: {answer}");
}

#[tokio::test]
async fn a_reload_that_cannot_be_used_changes_nothing() {
    let issuer = Issuer::start().await;
    let authenticator = authenticator(&issuer.config(), &clock());
    let mut config = issuer.config();
    config.issuers[0].ca_file = Some("/nowhere/ca.pem".into());
    let refused = authenticator.reload(&config).unwrap_err().to_string();
    assert!(refused.contains("/nowhere/ca.pem"), "{refused}");
    let peer = Peer::new(address());
    assert!(recognize(&authenticator, &issuer.token(json!({})), &peer).await.is_ok());
}

#[tokio::test]
async fn tokens_of_an_issuer_that_is_gone_or_configured_otherwise_are_withdrawn() {
    let (first, other) = (Issuer::start().await, Issuer::start().await);
    let mut both = first.config();
    both.issuers.extend(other.config().issuers);
    let authenticator = authenticator(&both, &clock());
    let peer = Peer::new(address());
    let [of_first, of_other] = [&first, &other].map(|issuer| issuer.token(json!({})));
    let credential = async |token| {
        recognize(&authenticator, token, &peer).await.unwrap().credential().cloned().unwrap()
    };
    let (of_first, of_other) = (credential(&of_first).await, credential(&of_other).await);
    assert!(authenticator.reload(&both).unwrap().is_empty());
    let withdrawn = authenticator.reload(&first.config()).unwrap();
    assert!(withdrawn.concern(&of_other) && !withdrawn.concern(&of_first));
    let mut narrower = first.config();
    narrower.issuers[0].audiences = vec!["others".to_owned()];
    assert!(authenticator.reload(&narrower).unwrap().concern(&of_first));
}

#[tokio::test]
async fn the_files_that_an_issuer_names_are_read_again() {
    let issuer = Issuer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let authority = || {
        let pair = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::default().self_signed(&pair).unwrap().pem()
    };
    std::fs::write(&file, authority()).unwrap();
    let mut config = issuer.config();
    config.issuers[0].ca_file = Some(file.clone());
    let authenticator = authenticator(&config, &clock());
    let (peer, token) = (Peer::new(address()), issuer.token(json!({})));
    for (fetched, change) in [(1, None), (1, None), (2, Some(authority()))] {
        change.map_or(Ok(()), |content| std::fs::write(&file, content)).unwrap();
        assert!(authenticator.reload(&config).unwrap().is_empty());
        assert!(recognize(&authenticator, &token, &peer).await.is_ok());
        assert_eq!(issuer.fetched(), fetched);
    }
    std::fs::write(&file, "nothing").unwrap();
    assert!(authenticator.reload(&config).is_err());
    assert!(recognize(&authenticator, &token, &peer).await.is_ok());
}

#[tokio::test]
async fn keys_are_used_no_longer_than_stated_and_fetched_again_in_the_background_before() {
    let issuer = Issuer::start().await;
    let clock = clock();
    let surroundings = Surroundings { clock: clock.clone(), ..Surroundings::default() };
    let tasks = surroundings.tasks.clone();
    let authenticator = Authenticator::new(&issuer.config(), surroundings).unwrap();
    let (peer, token) = (Peer::new(address()), issuer.token(json!({})));
    assert!(recognize(&authenticator, &token, &peer).await.is_ok());
    clock.advance(Duration::from_secs(11));
    // Nobody waits for keys that may still be used; one of many fetches.
    for _ in 0..20 {
        assert!(recognize(&authenticator, &token, &peer).await.is_ok());
    }
    tasks.close();
    tokio::time::timeout(Duration::from_mins(1), tasks.wait()).await.unwrap();
    assert_eq!(issuer.fetched(), 2);
    clock.advance(Duration::from_secs(101));
    assert!(recognize(&authenticator, &token, &peer).await.is_ok());
    assert_eq!(issuer.fetched(), 3, "too old: whoever came waited for new ones");
}

#[tokio::test]
async fn a_password_that_looks_like_a_token_is_one_whatever_the_user_name() {
    let issuer = Issuer::start().await;
    let authenticator = authenticator(&issuer.config(), &clock());
    let Credential::Bearer(token) = issuer.token(json!({})) else { panic!() };
    for name in ["", "device", "anybody"] {
        let credential =
            Credential::Basic { name: name.to_owned(), password: token.clone().into_bytes() };
        let principal = recognize(&authenticator, &credential, &Peer::new(address())).await;
        assert_eq!(principal.unwrap().name(), "device");
    }
    let credential = Credential::Basic { name: "a".to_owned(), password: b"secret".to_vec() };
    let answer = authenticator.authenticate(&credential, &Peer::new(address())).await;
    assert_eq!(answer.unwrap_err(), Unauthenticated::UnknownMethod, "no password was ever made");
}

#[tokio::test]
async fn anonymous_access_is_for_loopback_and_for_what_nobody_can_check() {
    let issuer = Issuer::start().await;
    let open = authenticator(&issuer.config(), &clock()).with_anonymous_on_loopback();
    let local = Peer::new(([127, 0, 0, 1], 4000).into());
    let password = Credential::Basic { name: "a".to_owned(), password: b"b".to_vec() };
    for credential in [Credential::None, password] {
        let principal = recognize(&open, &credential, &local).await.unwrap();
        assert_eq!(principal.method(), Method::Anonymous);
        assert!(recognize(&open, &credential, &Peer::new(address())).await.is_err());
    }
    let principal = recognize(&open, &issuer.token(json!({})), &local).await.unwrap();
    assert_eq!(principal.name(), "device");
    let expired = issuer.token(json!({ "exp": NOW - 60 }));
    let answer = open.authenticate(&expired, &local).await;
    assert!(matches!(answer, Err(Unauthenticated::Expired(_))));
}
