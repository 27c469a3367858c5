//! Pushing over TLS: whom it trusts, and which version of HTTP is agreed on.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use eg_event::Outcome;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::connections::OnTracker;
use crate::push::Push;

/// A subscriber behind TLS, for `localhost`.
struct TlsSubscriber {
    address: SocketAddr,
    authority_pem: String,
    connections: Arc<AtomicUsize>,
    http2_requests: Arc<AtomicUsize>,
}

impl TlsSubscriber {
    async fn start(alpn: &[&[u8]]) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key.into())
            .unwrap();
        tls.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let subscriber = Self {
            address: listener.local_addr().unwrap(),
            authority_pem: made.cert.pem(),
            connections: Arc::default(),
            http2_requests: Arc::default(),
        };
        let tasks = TaskTracker::new();
        let (connections, http2) =
            (Arc::clone(&subscriber.connections), Arc::clone(&subscriber.http2_requests));
        tasks.clone().spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::Relaxed);
                let (acceptor, http2, each) = (acceptor.clone(), Arc::clone(&http2), tasks.clone());
                tasks.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let is_http2 = request.version() == Version::HTTP_2;
                        http2.fetch_add(usize::from(is_http2), Ordering::Relaxed);
                        let mut answer = Response::new(Full::<Bytes>::default());
                        *answer.status_mut() = StatusCode::ACCEPTED;
                        std::future::ready(Ok::<_, Infallible>(answer))
                    });
                    let builder = auto::Builder::new(OnTracker(each));
                    drop(builder.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        subscriber
    }

    fn endpoint(&self, host: &str) -> String {
        format!("https://{host}:{}/hook?token=secret", self.address.port())
    }
}

/// A file with `text` that is removed with the value.
struct File(PathBuf);

impl File {
    fn with(text: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("eg-http-ca-{}-{number}.pem", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::File::create_new(&path).unwrap().write_all(text.as_bytes()).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

#[tokio::test]
async fn one_http2_connection_carries_all_attempts_where_tls_agrees_on_it() {
    let subscriber = TlsSubscriber::start(&[b"h2", b"http/1.1"]).await;
    let authority = File::with(&subscriber.authority_pem);
    let push = Push::new(|config| config.ca_file = Some(authority.0.clone()));
    let endpoint = subscriber.endpoint("localhost");
    assert_eq!(push.to(&endpoint, |_| {}).await, Outcome::Delivered { status: Some(202) });
    let outcomes = join_all((0..20).map(|_| push.to(&endpoint, |_| {}))).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Delivered { .. })), "{outcomes:?}");
    assert_eq!(subscriber.http2_requests.load(Ordering::Relaxed), 21);
    assert_eq!(subscriber.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn http_1_1_is_spoken_where_tls_agrees_on_nothing_else() {
    let subscriber = TlsSubscriber::start(&[]).await;
    let authority = File::with(&subscriber.authority_pem);
    let push = Push::new(|config| config.ca_file = Some(authority.0.clone()));
    let outcome = push.to(&subscriber.endpoint("localhost"), |_| {}).await;
    assert_eq!(outcome, Outcome::Delivered { status: Some(202) });
    assert_eq!(subscriber.http2_requests.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_for_another_name_is_refused() {
    let subscriber = TlsSubscriber::start(&[]).await;
    let authority = File::with(&subscriber.authority_pem);
    let stranger = Push::new(|_| {});
    let trusting = Push::new(|config| config.ca_file = Some(authority.0.clone()));
    for (push, host) in [(&stranger, "localhost"), (&trusting, "127.0.0.1")] {
        let outcome = push.to(&subscriber.endpoint(host), |_| {}).await;
        let Outcome::Failed { status: None, reason, .. } = outcome else { panic!("{outcome:?}") };
        assert!(reason.starts_with("certificate not trusted: "), "{reason}");
        assert!(!reason.contains("secret"), "{reason}");
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_speak_tls_is_told_apart() {
    let plain = crate::subscriber::answer("200 OK", "", b"");
    let then = crate::subscriber::Then::AnswerAndClose(plain);
    let subscriber = crate::subscriber::Subscriber::start(then).await;
    let push = Push::new(|_| {});
    let short = |s: &mut eg_event::Subscription| s.request_timeout_ms = 300;
    let outcome = push.to(&format!("https://{}/", subscriber.address), short).await;
    assert!(matches!(outcome, Outcome::Failed { status: None, .. }), "{outcome:?}");
}
