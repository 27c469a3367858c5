//! Tokens on the way out: token endpoints that are slow, wrong, or somewhere they may not be.

use std::sync::Arc;
use std::time::Duration;

use eg_event::outbound::{
    Additions, Auth, ClientAuthentication, ClientCredentials, Credential, SecretText,
};
use eg_event::{Outcome, Sink as _};
use futures_util::future::join_all;

use crate::push::{Push, delivery};
use crate::subscriber::{Subscriber, Then, answer};

fn oauth(url: &str) -> Arc<Auth> {
    let client = ClientCredentials {
        client_id: "gateway".to_owned(),
        client_secret: SecretText::new("s3cret"),
        url: url.to_owned(),
        scopes: Vec::new(),
        audience: None,
        resource: None,
        client_authentication: ClientAuthentication::Basic,
    };
    Arc::new(Auth { credential: Some(Credential::OAuth(client)), ..Auth::default() })
}

fn granted() -> Vec<u8> {
    let token = br#"{"access_token":"t0ken","token_type":"bearer","expires_in":60}"#;
    answer("200 OK", "", token)
}

async fn receiver() -> Subscriber {
    Subscriber::start(Then::Answer(answer("204 No Content", "", b""))).await
}

#[tokio::test]
async fn everyone_who_sends_at_once_shares_one_token() {
    let (endpoint, receiver) = (Subscriber::start(Then::Answer(granted())).await, receiver().await);
    let push = Push::new(|_| {});
    let auth = oauth(&format!("http://{}/token", endpoint.address));
    let to = format!("http://{}/hook", receiver.address);
    let delivery = delivery(&to, |subscription| subscription.auth = Some(auth));
    let outcomes = join_all((0..50).map(|_| push.sink.deliver(&delivery))).await;
    assert!(outcomes.iter().all(|one| *one == Outcome::Delivered { status: Some(204) }));
    assert_eq!((endpoint.requests(), receiver.requests()), (1, 50));
    let heads = receiver.requests.lock().unwrap();
    assert!(heads.iter().all(|(head, _)| head.contains("\r\nauthorization: bearer t0ken")));
}

#[tokio::test]
async fn a_token_endpoint_that_gives_no_token_is_a_failed_attempt_that_says_why() {
    let large = answer("200 OK", "", &vec![b' '; 70_000]);
    let rows = [
        (answer("503 No", "retry-after: 7\r\n", b""), "the token endpoint answered 503"),
        (answer("302 Found", "location: /x\r\n", b""), "the token endpoint answered 302"),
        (
            answer("400 Bad", "", br#"{"error":"invalid_scope"}"#),
            "the token endpoint answered 400: invalid_scope",
        ),
        (answer("400 Bad", "", br#"{"error":"a\nb"}"#), "the token endpoint answered 400"),
        (
            answer("200 OK", "", b"t0ken"),
            "the token endpoint answered something that is no token (RFC 6749 section 5.1)",
        ),
        (large, "the token endpoint answered more than 65536 bytes"),
    ];
    let receiver = receiver().await;
    let push = Push::new(|_| {});
    let to = format!("http://{}/hook", receiver.address);
    for (bytes, expected) in rows {
        let endpoint = Subscriber::start(Then::Answer(bytes)).await;
        let auth = oauth(&format!("http://{}/token", endpoint.address));
        let outcome = push.to(&to, |subscription| subscription.auth = Some(auth)).await;
        let Outcome::Failed { status: None, reason, retry_after } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(reason, expected);
        let asked_for_time = expected.ends_with("503").then(|| Duration::from_secs(7));
        assert_eq!(retry_after, asked_for_time, "{reason}");
    }
    assert_eq!(receiver.requests(), 0);
}

#[tokio::test]
async fn a_token_endpoint_that_does_not_answer_takes_no_longer_than_it_may() {
    let (endpoint, receiver) = (Subscriber::start(Then::Hang).await, receiver().await);
    let url = format!("http://{}/token", endpoint.address);
    let to = format!("http://{}/hook", receiver.address);
    let rows = [
        (50, 5_000, "the token endpoint did not answer within 50 ms"),
        (5_000, 50, "timed out after 50 ms, waiting for a token"),
    ];
    for (token_ms, attempt_ms, expected) in rows {
        let push = Push::new(|config| config.token_ms_max = token_ms);
        let auth = oauth(&url);
        let outcome = push.to(&to, |subscription| {
            subscription.auth = Some(auth);
            subscription.request_timeout_ms = attempt_ms;
        });
        let reason = expected.to_owned();
        let failed = Outcome::Failed { status: None, reason, retry_after: None };
        assert_eq!(outcome.await, failed);
    }
}

#[tokio::test]
async fn a_token_is_not_asked_for_where_events_may_not_be_sent() {
    let receiver = receiver().await;
    let push = Push::new(|_| {});
    let to = format!("http://{}/hook", receiver.address);
    for (url, expected) in [
        ("http://10.0.0.1/token", "the token endpoint: address not allowed: 10.0.0.1 is private"),
        (
            "http://2852039166/latest",
            "the token endpoint: address not allowed: 169.254.169.254 is link-local",
        ),
    ] {
        let auth = oauth(url);
        let guard = eg_http::Guard::new(&eg_http::PushConfig::default());
        let subscription = delivery("https://shop.test/", |s| s.auth = Some(Arc::clone(&auth)));
        let now = eg_event::Timestamp::default();
        let refused = eg_http::check_target(&guard, &subscription.subscription, now).unwrap_err();
        assert_eq!(refused.field, "auth.credential.oauth.url");
        let outcome = push.to(&to, |subscription| subscription.auth = Some(auth)).await;
        let reason = expected.to_owned();
        assert_eq!(outcome, Outcome::Failed { status: None, reason, retry_after: None });
    }
}

#[tokio::test]
async fn basic_headers_and_parameters_are_on_every_request() {
    let receiver = receiver().await;
    let push = Push::new(|_| {});
    let additions = |name: &str, values: &[&str]| -> Additions {
        let values = values.iter().map(|value| SecretText::new(*value)).collect();
        [(name.to_owned(), values)].into_iter().collect()
    };
    let password = SecretText::new("open sesame");
    let auth = Arc::new(Auth {
        credential: Some(Credential::Basic { username: "aladdin".to_owned(), password }),
        additional_headers: additions("X-Tenant", &["a", "b"]),
        additional_query_params: additions("k", &["1 2", "&"]),
        ..Auth::default()
    });
    let to = format!("http://{}/hook?x=1", receiver.address);
    let outcome = push.to(&to, |subscription| subscription.auth = Some(auth)).await;
    assert_eq!(outcome, Outcome::Delivered { status: Some(204) });
    let head = receiver.requests.lock().unwrap()[0].0.clone();
    assert!(head.starts_with("post /hook?x=1&k=1%202&k=%26 http/1.1\r\n"), "{head}");
    // RFC 7617 section 2, but for the case, which the receiver does not keep.
    for line in ["authorization: basic ywxhzgrpbjpvcgvuihnlc2ftzq==", "x-tenant: a", "x-tenant: b"]
    {
        assert!(head.contains(line), "{line} in {head}");
    }
}
